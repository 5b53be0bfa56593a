/** A line of the engine's event log, and when it came. */
export interface TimedEvent {
  /** Seconds since the command was started. The engine's own stamps are whole seconds. */
  readonly at: number;
  readonly event: EngineEvent;
}

interface StepEvent {
  readonly metadata: { readonly op: string; readonly urn: string; readonly type: string };
}

/** The parts of the engine's events that are read here. */
export interface EngineEvent {
  readonly preludeEvent?: object;
  readonly resourcePreEvent?: StepEvent;
  readonly resOutputsEvent?: StepEvent;
  readonly resOpFailedEvent?: StepEvent;
  readonly summaryEvent?: object;
}

/** A step of the engine: one operation on one resource. */
export interface Span {
  readonly urn: string;
  /** Like `tls:index/privateKey:PrivateKey`. */
  readonly type: string;
  /** The resource's own name, the last part of its URN. */
  readonly name: string;
  /** Like `create`, `update`, `same`. */
  readonly op: string;
  /** Seconds since the command was started. */
  readonly start: number;
  readonly end: number;
  readonly failed: boolean;
}

/** A line of the log as an event. Throws on what is no JSON object. */
export function parseEvent(line: string): EngineEvent {
  const parsed: unknown = JSON.parse(line);
  if (typeof parsed !== "object" || parsed === null) throw new Error(`event log: got ${line}, expected a JSON object`);
  return parsed;
}

/**
 * The steps in the order in which they began. A component's span ends when its outputs are registered, with its last child as a rule.
 * A step without an end (the engine was cut off) ends with the log, and counts as failed.
 */
export function spansOf(events: readonly TimedEvent[]): Span[] {
  const spans: Span[] = [];
  const open = new Map<string, Omit<Span, "end" | "failed">>();
  const close = (key: string, end: number, failed: boolean) => {
    const begun = open.get(key);
    if (begun === undefined) return;
    open.delete(key);
    spans.push({ ...begun, end, failed });
  };
  for (const { at, event } of events) {
    const started = event.resourcePreEvent?.metadata;
    if (started) {
      const { urn, type, op } = started;
      open.set(`${op} ${urn}`, { urn, type, op, name: urn.split("::").at(-1) ?? urn, start: at });
    }
    const done = event.resOutputsEvent?.metadata;
    if (done) close(`${done.op} ${done.urn}`, at, false);
    const failed = event.resOpFailedEvent?.metadata;
    if (failed) close(`${failed.op} ${failed.urn}`, at, true);
  }
  const last = events.at(-1)?.at ?? 0;
  for (const key of [...open.keys()]) close(key, last, true);
  return spans.sort((a, b) => a.start - b.start || a.end - b.end);
}

/** Operations that leave the resource as it is. */
const unchanged = new Set(["same", "read", "refresh"]);

/** What an `up` did: the steps that are no `same`. */
export const changesOf = (spans: readonly Span[]): Span[] => spans.filter(({ op }) => !unchanged.has(op));
