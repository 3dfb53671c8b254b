import {Emitter, guard} from './emitter.js';
import type {ClientEvents, History, Lost, Off, State, Topic, TopicEvents, TopicOptions, TopicState} from './types.js';
import type {PushFrame, Recovery} from './wire.js';

/** Messages that wait for a slow `for await`; more are an error, as every buffer has a bound. */
const MAX_WAITING = 10_000;

function parsed(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

/** The client, as its topics see it. */
export interface Owner {
  readonly state: State;
  readonly events: Emitter<ClientEvents>;
  left(topic: Subscription): void;
}

/** A topic as the application has it; it outlives connections. */
export class Subscription<T = unknown> implements Topic<T> {
  state: TopicState = 'joining';
  position: string | null = null;
  private wasJoined = false;
  /** Whether a message came on this connection: it is joined, if only by PHP. */
  private hadMessage = false;
  private history?: History;
  private readonly decode?: (payload: string) => T;
  private readonly events = new Emitter<TopicEvents<T>>();
  private readonly iterations = new Set<(error?: Error) => void>();

  constructor(
    readonly name: string,
    options: TopicOptions<T>,
    private readonly owner: Owner,
  ) {
    this.decode = options.decode;
    this.wish(options.history);
  }

  /** Ask for the history from the next join on, unless that was done. */
  wish(history: History | undefined): void {
    this.history ||= history === '' ? true : history;  // PHP has no position of a topic without history
  }

  /** What to ask for in a join. */
  get wished(): History | undefined {
    return this.history && (this.position ?? this.history);
  }

  on<E extends keyof TopicEvents<T>>(event: E, listener: (...args: TopicEvents<T>[E]) => void): Off {
    return this.events.on(event, listener);
  }

  onGap(listener: (lost: Lost) => void): Off {
    return this.on('lost', listener);
  }

  leave(): void {
    if (this.state === 'left') return;
    this.state = 'left';
    this.end();
    this.events.clear();
    this.owner.left(this as Subscription);
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    const waiting: T[] = [];
    const takers: (() => void)[] = [];
    let isOver = false;
    let failure: Error | undefined;
    const changed = () => takers.splice(0).forEach((wake) => wake());
    const stop = (error?: Error) => {
      isOver = true;
      failure = error;
      off();
      this.iterations.delete(stop);
      changed();
    };
    const off = this.on('message', (message) => {
      if (waiting.push(message) > MAX_WAITING) {
        stop(new Error(`more than ${MAX_WAITING} messages of ${this.name} wait: the loop is too slow`));
      }
      changed();
    });
    this.iterations.add(stop);
    if (this.state === 'left' || this.owner.state === 'closed') stop();
    return {
      next: async () => {
        while (!waiting.length && !isOver) await new Promise<void>((resolve) => { takers.push(resolve); });
        const error = failure;
        failure = undefined;
        if (error) {
          waiting.length = 0;
          throw error;
        }
        return waiting.length ? {value: waiting.shift() as T, done: false} : {value: undefined, done: true};
      },
      return: async () => {
        waiting.length = 0;
        stop();
        return {value: undefined, done: true};
      },
    };
  }

  /** End all iterations: no more will come. */
  end(): void {
    for (const stop of [...this.iterations]) stop();
  }

  // What the session tells

  received({payload, pos}: PushFrame, isValue: boolean): void {
    // The server has joined it for us, and the answer to our own join is on its way: it brings this again, or says first
    // that something is missing.
    if (this.state === 'joining' && (this.history || this.wasJoined)) return;
    const position = typeof pos === 'string' ? pos : null;
    // First: whatever a listener does, it has had this message.
    if (position && this.history) this.position = position;
    this.hadMessage = true;
    guard(() => {
      const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
      const message = this.decode ? this.decode(text) : isValue ? payload : parsed(text);
      this.events.emit('message', message as T, {topic: this.name, payload: text, position});
    });
  }

  /** It was joined; `wish` is what was asked for, `found` what was answered to that. The messages follow. */
  joined(wish: History | undefined, found: Recovery | undefined): void {
    // Without a position what comes has none, and an old one would bring it again.
    this.position = found?.pos ?? null;
    const wasIn = this.state === 'joined';  // and it was asked for its history only now
    const again = this.wasJoined && !wasIn;
    this.wasJoined = true;
    this.state = 'joined';
    const count = found?.count ?? 0;
    const isSince = typeof wish === 'string';
    // A position of the application is of the past by now; what came since then would come again.
    if (isSince && typeof this.history === 'string') this.history = true;
    if (isSince && found?.recovered) this.events.emit('recovered', {count});
    else if (again || (wish && wish !== true && !found?.recovered)) this.lost({reason: found?.reason ?? 'off'});
    if (!wasIn) this.events.emit('joined', {again, count});
  }

  refused(reason: string, temporary: boolean): void {
    if (!temporary && this.state !== 'joined') this.state = 'refused';
    const refused = {reason, temporary};
    this.events.emit('refused', refused);
    this.owner.events.emit('refused', refused, this as Topic);
  }

  lost(lost: Lost): void {
    this.events.emit('lost', lost);
    this.owner.events.emit('lost', lost, this as Topic);
  }

  disconnected(): void {
    if (this.state === 'joined') this.state = 'joining';
    this.wasJoined ||= this.hadMessage;
    this.hadMessage = false;
  }
}
