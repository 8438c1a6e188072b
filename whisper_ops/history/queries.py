"""Ten questions to the history, as SQL for any SQLite tool. docs/history.md shows them, the tests run them."""

from typing import NamedTuple


class SqlQuery(NamedTuple):
    """A question, and the statement that answers it."""

    question: str
    sql: str


QUERIES = (
    SqlQuery(
        "How is each server now?",
        """\
SELECT s.name, datetime(max(p.at), 'unixepoch') AS polled_utc, p.state, p.status, p.slots_used, p.slots,
       round(p.lag_p95_seconds, 2) AS lag_p95
FROM server AS s JOIN server_sample AS p ON p.server_id = s.id
WHERE p.at > unixepoch() - 86400
GROUP BY s.id
ORDER BY s.name""",
    ),
    SqlQuery(
        "What was the lag, hour by hour, over the last 30 days?",
        """\
SELECT s.name, datetime(h.at, 'unixepoch') AS hour_utc,
       round(lag_p95_seconds_sum / lag_p95_seconds_n, 2) AS mean, round(lag_p95_seconds_max, 2) AS worst
FROM server_hour AS h JOIN server AS s ON s.id = h.server_id
WHERE h.at > unixepoch() - 30 * 86400 AND lag_p95_seconds_n > 0
ORDER BY s.name, h.at""",
    ),
    SqlQuery(
        "Which share of all streams' lag samples of a day was within 2 seconds? (Counts add up; percentiles do not.)",
        """\
SELECT date(h.at, 'unixepoch') AS day_utc,
       round(1.0 * sum(c.value) FILTER (WHERE b.upper_bound_seconds <= 2.0) / sum(c.value), 4) AS within_2_s,
       sum(c.value) AS samples
FROM server_hour AS h, json_each(h.lag_bucket_counts) AS c
JOIN latency_bucket AS b ON b.bucket = CAST(c.key AS INTEGER)
GROUP BY day_utc
ORDER BY day_utc""",
    ),
    SqlQuery(
        "When was nothing recorded for more than a minute?",
        """\
SELECT s.name, datetime(since, 'unixepoch') AS from_utc, round(until - since) AS seconds
FROM (SELECT server_id, at AS since, lead(at) OVER (PARTITION BY server_id ORDER BY at) AS until FROM server_sample)
JOIN server AS s ON s.id = server_id
WHERE until - since > 60
ORDER BY since""",
    ),
    SqlQuery(
        "When did a server not answer, and why?",
        """\
SELECT s.name, error, datetime(min(at), 'unixepoch') AS first_utc, datetime(max(at), 'unixepoch') AS last_utc,
       count(*) AS polls
FROM server_sample AS p JOIN server AS s ON s.id = p.server_id
WHERE state = 'silent'
GROUP BY s.name, error
ORDER BY first_utc""",
    ),
    SqlQuery(
        "How many streams did each GPU carry at most, and how busy was it then?",
        """\
SELECT s.name, g.gpu_id, max(g.streams_active) AS most_streams, round(g.busy_ratio, 2) AS busy_then,
       round(g.memory_used_bytes / 1e9, 2) AS gb_then
FROM gpu_sample AS g JOIN server AS s ON s.id = g.server_id
GROUP BY s.id, g.gpu_id
ORDER BY s.name, g.gpu_id""",
    ),
    SqlQuery(
        "How much memory does a stream take on a GPU? (Slope and base of the line through all minutes.)",
        """\
SELECT name, gpu_id, round((n * xy - x * y) / (n * xx - x * x) / 1e6, 1) AS mb_a_stream,
       round((y - (n * xy - x * y) / (n * xx - x * x) * x) / n / 1e9, 2) AS base_gb
FROM (
    SELECT s.name, g.gpu_id, count(*) AS n, sum(u) AS x, sum(m) AS y, sum(u * m) AS xy, sum(u * u) AS xx
    FROM (SELECT *, streams_active_sum / streams_active_n AS u, memory_used_bytes_sum / memory_used_bytes_n AS m
          FROM gpu_minute WHERE streams_active_n > 0 AND memory_used_bytes_n > 0) AS g
    JOIN server AS s ON s.id = g.server_id
    GROUP BY s.id, g.gpu_id
)
WHERE n * xx > x * x
ORDER BY name, gpu_id""",
    ),
    SqlQuery(
        "What did each server run, and since when?",
        """\
SELECT s.name, datetime(i.at, 'unixepoch') AS since_utc, software, version, engine, model, compute_type, gpu_name
FROM server_identity AS i JOIN server AS s ON s.id = i.server_id
ORDER BY s.name, i.at""",
    ),
    SqlQuery(
        "Which levels of load passed, and which did not?",
        """\
SELECT w.server, w.model, l.streams, l.audit, l.passed, round(l.stable_p95_seconds, 2) AS stable_p95,
       round(l.wer_ratio, 3) AS wer, l.reason
FROM level AS l JOIN sweep AS w ON w.id = l.sweep_id
ORDER BY w.started_at, l.streams""",
    ),
    SqlQuery(
        "Which alerts were there, how long and how bad?",
        """\
SELECT datetime(started_at, 'unixepoch') AS began_utc, server, gpu_id, rule,
       round(coalesce(ended_at, unixepoch()) - started_at) AS seconds, min_value, mean_value, max_value, sentence
FROM alert
ORDER BY started_at DESC""",
    ),
)
