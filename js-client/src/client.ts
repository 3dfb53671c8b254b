import {Emitter} from './emitter.js';
import {Link} from './link.js';
import {Session} from './session.js';
import {backoff} from './timing.js';
import {Subscription, type Owner} from './topic.js';
import type {
  Address, AddressSource, Client, ClientEvents, Lost, Off, Options, State, StateChange, Topic, TopicOptions,
  WebSocketConstructor,
} from './types.js';
import {onWakeups} from './wakeups.js';
import {JSON_PROTOCOL} from './wire.js';

/** A connection that lived so long was a good one: the next attempt comes soon. */
const GOOD = 5_000;
const EXPIRED = 4001;
const POLICY = 1008;

const WORDS: {[code: number]: string} = {
  1001: 'the server stops, or the page is left',  // Firefox says it of the latter
  1013: 'the server asks to try again later',
  [EXPIRED]: 'the token has expired',
};

/** The one connection of an application, again and again, and its topics. */
export class Connector implements Client, Owner {
  state: State = 'closed';
  reason = '';
  readonly me: string;
  private readonly topics = new Map<string, Subscription>();
  readonly events = new Emitter<ClientEvents>();
  private readonly WebSocket: WebSocketConstructor;
  private link?: Link;
  private session?: Session;
  private stopWakeups?: () => void;
  private timer?: ReturnType<typeof setTimeout>;
  private failures = 0;
  private openedAt = 0;
  private attempt = 0;
  private token: string | undefined;
  private asking: Promise<string | null> | undefined;

  constructor(private readonly url: AddressSource, private readonly options: Options) {
    const found = options.WebSocket ?? (globalThis as {WebSocket?: WebSocketConstructor}).WebSocket;
    if (!found) throw new Error('there is no WebSocket here: give one in the options, such as that of the package ws');
    this.WebSocket = found;
    this.me = `${options.me ?? randomId()}`;  // a number is no name for the server
    // The server would not know it by any other.
    if (!/^.{1,64}$/su.test(this.me)) throw new Error('me has 1 to 64 characters');
    this.reconnect();
    if (this.isClosed()) throw new Error(this.reason);
  }

  topic<T = unknown>(name: string, options: TopicOptions<T> = {}): Topic<T> {
    let topic = this.topics.get(name);
    if (topic) {
      topic.wish(options.history);
    } else {
      topic = new Subscription<T>(name, options, this) as Subscription;
      this.topics.set(name, topic);
    }
    this.session?.schedule();
    return topic as Topic as Topic<T>;
  }

  left(topic: Subscription): void {
    if (this.topics.get(topic.name) === topic) this.topics.delete(topic.name);
    this.session?.schedule();
  }

  on<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): Off {
    return this.events.on(event, listener);
  }

  onGap(listener: (lost: Lost, topic: Topic) => void): Off {
    return this.on('lost', listener);
  }

  reconnect(): void {
    this.disconnect();
    this.failures = 0;
    this.token = this.asking = undefined;
    this.stopWakeups ??= onWakeups(() => this.wake(), () => this.link?.probe(), () => this.sleep());
    this.open('asked to');
  }

  close(): void {
    this.stop('closed by the application');
  }

  // Attempts

  private open(reason: string): void {
    clearTimeout(this.timer);
    const attempt = ++this.attempt;
    this.set({state: 'connecting', reason});
    if (attempt !== this.attempt) return;  // a listener has decided otherwise
    if (!this.options.token || this.token !== undefined) return this.dial();
    // One question at a time, however many attempts wait for its answer.
    this.asking ??= Promise.resolve().then(this.options.token);
    const {asking} = this;
    const answered = (token: string | undefined) => {
      if (this.asking === asking) [this.asking, this.token] = [undefined, token];
      return attempt === this.attempt;
    };
    asking.then(
      (token) => {
        if (!answered(token ?? undefined)) return;
        if (token === null) this.stop('there is no token');
        else this.dial();
      },
      (error: unknown) => {
        if (answered(undefined)) this.wait(`no token: ${message(error)}`);
      },
    );
  }

  private dial(): void {
    const {url, options: {protocols = [], ping = 25_000}, token = ''} = this;
    this.openedAt = 0;
    let socket;
    try {
      const wanted = typeof protocols === 'function' ? protocols(token) : protocols;
      socket = new this.WebSocket(resolve(typeof url === 'function' ? url(token) : url), wanted);
    } catch (error) {  // a wrong URL stays one
      return this.stop(message(error));
    }
    const session = new Session(this.topics, this.me, (text) => link.send(text));
    const link = new Link(socket, {
      opened: () => this.opened(session),
      received: (text) => session.receive(text, socket.protocol === JSON_PROTOCOL),
      ended: (code, reason) => this.ended(code, reason),
      ping: () => session.ping(),
      isBusy: () => session.isBusy,
    }, ping);
    this.link = link;
  }

  private opened(session: Session): void {
    this.openedAt = Date.now();
    this.session = session;
    session.schedule();
    this.set({state: 'connected', reason: ''});
  }

  private ended(code: number, said: string): void {
    const words = said || WORDS[code] || (this.openedAt ? 'connection lost' : 'the server cannot be reached, or refuses');
    const failed = !this.openedAt;
    if (code === POLICY || (code >= 4500 && code < 5000)) return this.stop(words, code);
    // Whether it was the token that was refused, is not told.
    if (failed || code === EXPIRED) this.token = undefined;
    if (!failed && Date.now() - this.openedAt >= GOOD) this.failures = 0;
    this.wait(words, code);
  }

  private wait(reason: string, code?: number): void {
    this.disconnect();
    const {min, max} = this.options.delay ?? {};
    const delay = backoff(this.failures++, min, max);
    this.timer = setTimeout(() => this.open('trying again'), delay);
    this.set({state: 'waiting', reason, ...(code !== undefined && {code}), delay});
  }

  private stop(reason: string, code?: number): void {
    if (this.isClosed()) return;
    this.disconnect();
    this.stopWakeups?.();
    this.stopWakeups = undefined;
    this.set({state: 'closed', reason, ...(code !== undefined && {code})});
    if (this.isClosed()) this.topics.forEach((topic) => topic.end());
  }

  /** End the connection or attempt; nothing of it is heard of any more. */
  private disconnect(): void {
    this.attempt++;
    clearTimeout(this.timer);
    this.link?.drop();
    this.session?.end();
    this.link = this.session = undefined;
  }

  private wake(): void {
    if (this.state === 'waiting') this.open('the page or the network is back');
    else this.link?.probe();
  }

  private sleep(): void {
    this.disconnect();
    this.set({state: 'waiting', reason: 'the page is left'});
  }

  private isClosed(): boolean {
    return this.state === 'closed';
  }

  private set(change: StateChange): void {
    this.state = change.state;
    this.reason = change.reason;
    this.events.emit('state', change);
  }
}

/** Return the URL of a WebSocket: an address may be relative to the page, and begin with `http`. */
function resolve(address: Address): string {
  const base = (globalThis as {location?: {href: string}}).location?.href;
  return new URL(typeof address === 'string' ? address : address.href, base).href.replace(/^http/, 'ws');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An id proves nothing and is no secret, so that it need not be made by `crypto`, which is not everywhere. */
function randomId(): string {
  return [0, 0].map(() => Math.random().toString(36).slice(2)).join('');
}
