"""The terminal screens. Pages format frozen values without textual; screens and widgets draw them."""
