"""What the words mean that stand on screens, in tables and in the documentation: one line each.

The dashboard's page of words (`w`) and docs/glossary.md are made of this; a test holds the titles of every column
against it. A word is explained where it is added, or it is not added.
"""

from typing import NamedTuple


class Term(NamedTuple):
    """A word and its line. `titles`: how else it stands at the head of a column or before a figure."""

    name: str
    meaning: str
    titles: tuple[str, ...] = ()


GLOSSARY: dict[str, tuple[Term, ...]] = {
    "Speech and its text": (
        Term(
            "stream", "what one speaker says, sent live, and the text that comes back", ("streams", "speaking", "now")
        ),
        Term(
            "connection",
            "the socket that a stream comes over; after a drop a stream may go on over another one",
            ("connections",),
        ),
        Term("session", "what a server keeps of a stream, also while its connection is lost"),
        Term("utterance", "speech between two pauses; it is decoded as a whole"),
        Term("partial", "text of an utterance that is not over: it may still change, but for its stable beginning"),
        Term("final", "text of an utterance that is over: it never changes"),
        Term(
            "stable",
            "from when a word was said until it stood in the text and never changed again",
            ("stable p50/p95", "p95 stable"),
        ),
        Term(
            "first shown", "from when a word was said until it first stood in the text at its place", ("first p50/p95",)
        ),
        Term("WER", "word error rate: words that are wrong, missing or too many, as a share of those that were said"),
    ),
    "How late a server is": (
        Term(
            "lag",
            "how far the text is behind the speech: sound received less what is in a text or was judged silent",
            ("lag p95",),
        ),
        Term("p95", "95 % of the values are at or below it; p50 is the median"),
        Term("queue", "the part of the lag in which speech that is due waits for the engine", ("queue p95",)),
        Term("compute", "the part of the lag in which the engine decodes it: the time of one batch", ("compute p95",)),
        Term("cadence", "the rest of the lag: texts come at intervals, so a new word waits for the next one"),
        Term(
            "fill", "how many streams' speech one batch decodes, at the mean of the last ten seconds", ("batch fill",)
        ),
        Term(
            "busy",
            "share of time in which the engine has a batch in work; near 100 % lag grows without end",
            ("busiest GPU", "engine busy"),
        ),
        Term("device busy", "the driver's utilisation: some kernel ran; how much more fits it does not say"),
        Term("memory busy", "share of time in which the GPU's memory was read or written"),
        Term("speech a second", "seconds of sound that the engine decodes in a second"),
        Term("5 min", "lag of five minutes: the worst of each half minute, from 0 to the objective; · = no reading"),
    ),
    "The server": (
        Term("server", "one `whisper-ops serve`, or other software that is watched", ("servers",)),
        Term("broker", "one address for many servers: it sends each stream to a server with room"),
        Term("front", "the server's process for sockets and slots; it runs on one core, which is a limit of its own"),
        Term("worker", "the server's process that owns the model on one GPU", ("worker memory", "worker cpu")),
        Term("GPU", "a device that decodes; on a machine without one it is the CPU", ("CPU", "GPUs")),
        Term("state", "the worst of what is seen, of what users feel and of what the server says of itself"),
        Term("slot", "room for one stream; a GPU has as many as its server was told", ("slots", "taken", "free")),
        Term("admission", "giving a slot to a stream that comes, or refusing it at once"),
        Term("refused", "streams that came and got no slot, a minute", ("rej/m", "rej/min")),
        Term("drain", "no new stream is let in; those there go on until they end or the time is up"),
        Term("restarts", "how often a worker was started again"),
        Term("memory", "the memory of a GPU that is in use, by whomever; on a CPU the machine's", ("mem", "vram")),
        Term("temp", "how hot a GPU is", ("temperature", "hottest GPU")),
        Term("power", "what a GPU draws, and its limit"),
        Term("clock", "how fast a GPU runs now"),
        Term("throttle", "why a GPU runs slower than it can: power, heat, or its owner's setting"),
        Term("ECC errors", "errors of a GPU's memory that could not be corrected"),
    ),
    "The load test": (
        Term("level", "so many streams that speak at once for a stated time, and what was measured meanwhile"),
        Term("objective", "what a level must meet to pass, as `stable_p95<=2s`", ("result", "missed")),
        Term("live", "how many streams really were live at once, by what was sent and how long it took"),
        Term("words", "how many words the streams of a level said"),
        Term("bad", "streams that were refused or failed"),
        Term("late p99", "how late the load test itself sent its sound"),
        Term("audit", "whether a level is evidence: valid, provisional (too short to be sure), disturbed or invalid"),
        Term("knee", "the load beyond which latency rises steeply; the safe limit lies before it"),
    ),
    "The plan": (
        Term("limit", "the most connections that a GPU, or a resource, allows", ("allows", "connections per GPU")),
        Term("safe", "the limit that the plan recommends; ~ before it: the plan is provisional", ("now │safe│ seen",)),
        Term("seen", "the most streams that a level passed with"),
        Term("room", "how many connections more are safe"),
        Term("if it is lost", "whether the other servers carry its connections too"),
        Term("resource", "what streams use up: time of the GPU, memory, cores, descriptors", ("what can run out",)),
        Term("binding resource", "what runs out first as streams are added: its limit is the limit (◀)"),
        Term("law", "how a resource grows with the streams, from the levels"),
        Term("cap", "how much of a resource may be used"),
        Term("expected", "what the law says for the load of this moment; far from what is seen: the plan is old"),
        Term("evidence", "the levels and polls that a law or a result rests on"),
        Term("tier", "how much of the limit is used: conservative, moderate, aggressive, extreme"),
    ),
    "Where figures come from": (
        Term("poll", "one question to a server, every second; `age` is how old its last answer is", ("age",)),
        Term("snapshot", "everything that one answer says of a server"),
        Term("exporter", "a page of metrics in Prometheus' format, of a server or of a machine, that is polled too"),
        Term("sample", "a row of the history: what one poll read of a server, a GPU or a machine"),
        Term("history", "history.db: polls, load tests, plans, alerts and events, in SQLite"),
    ),
}
"""By what they are about."""
