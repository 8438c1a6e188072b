"""The terms of screens, tables, messages and code, one line each.

The dashboard's glossary (`w`) and docs/glossary.md are made of this; a test fails when a column's title is missing. A
term is explained when it is added, or it is not added.
"""

from typing import NamedTuple


class GlossaryTerm(NamedTuple):
    """A term and its line. `titles`: the headings of columns and figures that mean the same."""

    name: str
    meaning: str
    titles: tuple[str, ...] = ()


GLOSSARY: dict[str, tuple[GlossaryTerm, ...]] = {
    "Speech and its text": (
        GlossaryTerm(
            "stream", "what one speaker says, sent live, and the text that comes back", ("streams", "speaking", "now")
        ),
        GlossaryTerm(
            "connection",
            "the socket that a stream comes over; after a drop a stream may go on over another one",
            ("connections",),
        ),
        GlossaryTerm("session", "what a server keeps of a stream, also while its connection is lost"),
        GlossaryTerm("utterance", "speech between two pauses; it is decoded as a whole"),
        GlossaryTerm(
            "partial", "text of an utterance that is not over: it may still change, but for its stable beginning"
        ),
        GlossaryTerm("final", "text of an utterance that is over: it never changes"),
        GlossaryTerm(
            "stable",
            "from when a word was said until it stood in the text and never changed again",
            ("stable p50/p95", "p95 stable"),
        ),
        GlossaryTerm(
            "first shown", "from when a word was said until it first stood in the text at its place", ("first p50/p95",)
        ),
        GlossaryTerm(
            "WER", "word error rate: words that are wrong, missing or too many, as a share of those that were said"
        ),
    ),
    "How late a server is": (
        GlossaryTerm(
            "lag",
            "how far the text is behind the speech: sound received less what is in a text or was judged silent",
            ("lag p95",),
        ),
        GlossaryTerm("p95", "95 % of the values are at or below it; p50 is the median"),
        GlossaryTerm("queue", "the part of the lag in which speech that is due waits for the engine", ("queue p95",)),
        GlossaryTerm(
            "compute", "the part of the lag in which the engine decodes it: the time of one batch", ("compute p95",)
        ),
        GlossaryTerm("cadence", "the rest of the lag: texts come at intervals, so a new word waits for the next one"),
        GlossaryTerm(
            "fill", "how many streams' speech one batch decodes, at the mean of the last ten seconds", ("batch fill",)
        ),
        GlossaryTerm(
            "busy",
            "share of time in which the engine has a batch in work; near 100 % lag grows without end",
            ("busiest GPU", "engine busy"),
        ),
        GlossaryTerm("device busy", "the driver's utilisation: some kernel ran; how much more fits it does not say"),
        GlossaryTerm("memory busy", "share of time in which the GPU's memory was read or written"),
        GlossaryTerm("speech a second", "seconds of sound that the engine decodes in a second"),
        GlossaryTerm(
            "5 min", "lag of five minutes: the worst of each half minute, from 0 to the objective; · = no reading"
        ),
    ),
    "The server": (
        GlossaryTerm("server", "one `whisper-ops serve`, or other software that is watched", ("servers",)),
        GlossaryTerm("broker", "one address for many servers: it sends each stream to a server with room"),
        GlossaryTerm(
            "front", "the server's process for sockets and slots; it runs on one core, which is a limit of its own"
        ),
        GlossaryTerm("worker", "the server's process that owns the model on one GPU", ("worker memory", "worker cpu")),
        GlossaryTerm("GPU", "a device that decodes; on a machine without one it is the CPU", ("CPU", "GPUs")),
        GlossaryTerm("state", "the worst of what is seen, of what users feel and of what the server says of itself"),
        GlossaryTerm(
            "slot", "room for one stream; a GPU has as many as its server was told", ("slots", "taken", "free")
        ),
        GlossaryTerm("admission", "giving a slot to a new stream, or refusing it at once"),
        GlossaryTerm("refused", "new streams that got no slot, a minute", ("rej/m", "rej/min")),
        GlossaryTerm(
            "drain", "no new stream is admitted; live ones are told, and go on until they end or the deadline"
        ),
        GlossaryTerm("restarts", "how often a worker was started again"),
        GlossaryTerm(
            "memory", "the memory of a GPU that is in use, by any program; on a CPU the machine's", ("mem", "vram")
        ),
        GlossaryTerm("temp", "how hot a GPU is", ("temperature", "hottest GPU")),
        GlossaryTerm("power", "what a GPU draws, and its limit"),
        GlossaryTerm("clock", "how fast a GPU runs now"),
        GlossaryTerm("throttle", "why a GPU runs slower than it can: power, heat, or its owner's setting"),
        GlossaryTerm("ECC errors", "errors of a GPU's memory that could not be corrected"),
    ),
    "The load test": (
        GlossaryTerm("level", "so many streams that speak at once for a stated time, and what was measured meanwhile"),
        GlossaryTerm("objective", "what a level must meet to pass, such as `stable_p95<=2s`", ("result", "missed")),
        GlossaryTerm("live", "how many streams really were live at once, by what was sent and how long it took"),
        GlossaryTerm("words", "how many words the streams of a level said"),
        GlossaryTerm("bad", "streams that were refused or failed"),
        GlossaryTerm("late p99", "how late the load test itself sent its sound"),
        GlossaryTerm(
            "audit", "whether a level is evidence: valid, provisional (too short to be sure), disturbed or invalid"
        ),
        GlossaryTerm("knee", "the load beyond which latency rises steeply; the safe limit lies before it"),
    ),
    "The plan": (
        GlossaryTerm(
            "limit", "the most connections that a GPU, or a resource, allows", ("allows", "connections per GPU")
        ),
        GlossaryTerm(
            "safe", "the limit that the plan recommends; ~ before it: the plan is provisional", ("now │safe│ seen",)
        ),
        GlossaryTerm("seen", "the most streams that a level passed with"),
        GlossaryTerm("room", "how many connections more are safe"),
        GlossaryTerm("if it is lost", "whether the other servers carry its connections too"),
        GlossaryTerm(
            "resource", "what streams use up: time of the GPU, memory, cores, descriptors", ("what can run out",)
        ),
        GlossaryTerm("binding resource", "what runs out first as streams are added: its limit is the limit (◀)"),
        GlossaryTerm("law", "how a resource grows with the streams, from the levels"),
        GlossaryTerm("cap", "how much of a resource may be used"),
        GlossaryTerm(
            "expected", "what the law says for the load of this moment; far from what is seen: the plan is old"
        ),
        GlossaryTerm("evidence", "the levels and polls that a law or a result rests on"),
        GlossaryTerm("tier", "how much of the limit is used: conservative, moderate, aggressive, extreme"),
    ),
    "Where figures come from": (
        GlossaryTerm("poll", "one question to a server, every second; `age` is how old its last answer is", ("age",)),
        GlossaryTerm("snapshot", "one poll of one server in base units: what is shown, stored and replayed"),
        GlossaryTerm(
            "exporter",
            "software with a page of metrics in Prometheus' format, of a server or of a machine, that is polled too",
        ),
        GlossaryTerm("sample", "a row of the history: what one poll read of a server, a GPU or a machine"),
        GlossaryTerm("history", "history.db: polls, load tests, plans, alerts and events, in SQLite"),
    ),
}
"""By what they are about."""
