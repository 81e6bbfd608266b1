"""Time of a training step by operation, from TensorFlow's trace."""

import collections
import pathlib

# Executor threads run the graph's operations; other threads do work inside the operations.
EXECUTOR_THREADS = "tf_Compute"


def profile(step, directory, count):
    """Trace some steps and sum the operations' self time.

    Args:
        step: function of no arguments that does one training step, warmed up.
        directory: directory for the trace (TensorBoard can read it too).
        count: number of steps.

    Returns:
        Two lists of rows [name, calls per step, milliseconds per step], longest first: by kind of operation, and
        by node of the graph.
    """
    import tensorflow as tf

    tf.profiler.experimental.start(str(directory))
    for _ in range(count):
        step()
    tf.profiler.experimental.stop()
    traces = pathlib.Path(directory).rglob("*.xplane.pb")
    return summarize(max(traces, key=lambda path: path.stat().st_mtime), count)


def summarize(trace, steps):
    """Sum a trace file (see `profile`)."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(pathlib.Path(trace).read_bytes())
    kinds, nodes = collections.defaultdict(list), collections.defaultdict(list)
    for plane in space.planes:
        for line in plane.lines:
            if not line.name.startswith(EXECUTOR_THREADS):
                continue
            for metadata_id, picoseconds in self_times(line.events):
                node, _, kind = plane.event_metadata[metadata_id].name.rpartition(":")
                if node and not node.endswith(":"):  # "node:Kind"; "Class::Method" is the runtime itself
                    kinds[kind].append(picoseconds)
                    nodes[f"{kind}  {node}"].append(picoseconds)
    return [_table(kinds, steps), _table(nodes, steps)]


def self_times(events):
    """Return pairs (metadata id, picoseconds) of one thread's events, without the time of events inside them."""
    totals, open_events = [], []
    for event in sorted(events, key=lambda event: (event.offset_ps, -event.duration_ps)):
        while open_events and open_events[-1][0] <= event.offset_ps:
            open_events.pop()
        if open_events:
            totals[open_events[-1][1]][1] -= event.duration_ps
        open_events.append((event.offset_ps + event.duration_ps, len(totals)))
        totals.append([event.metadata_id, event.duration_ps])
    return totals


def _table(times, steps):
    rows = [[name, len(values) / steps, sum(values) / steps / 1e9] for name, values in times.items()]
    return sorted(rows, key=lambda row: -row[2])
