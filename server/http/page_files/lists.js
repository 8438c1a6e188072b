/** Fill a description list with rows of a name and a value. */
export function fill(list, rows) {
  list.replaceChildren(...rows.flatMap(row => row.map((text, number) => {
    const node = document.createElement(number ? "dd" : "dt");
    node.textContent = text;
    return node;
  })));
}
