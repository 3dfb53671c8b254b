/** A server in the memory of a test: it sees each command, and says what the test wants it to say. */

import type {WebSocketLike} from '../../src/index.js';

/** A command, as it was sent. */
export interface Sent {
  command: 'join' | 'leave';
  topics: string[];
  id: number;
  me?: string;
  history?: {[topic: string]: unknown};
}

type Handler = ((event: never) => void) | null;

/** A WebSocket whose other end is the test. */
export class FakeSocket implements WebSocketLike {
  static all: FakeSocket[] = [];
  readyState = 0;
  onopen: Handler = null;
  onmessage: Handler = null;
  onclose: Handler = null;
  onerror: Handler = null;
  readonly sent: Sent[] = [];
  protocol = '';
  closedWith: number | undefined;

  constructor(readonly url: string, readonly protocols?: string | string[]) {
    FakeSocket.all.push(this);
  }

  /** The newest one. */
  static get last(): FakeSocket {
    return FakeSocket.all.at(-1) as FakeSocket;
  }

  send(text: string): void {
    const command = JSON.parse(text) as Sent;
    this.sent.push(command);
    this.onCommand(command, text);
  }

  close(code?: number): void {
    this.readyState = 2;
    this.closedWith = code ?? 1005;
  }

  /** What the server does with a command; nothing by default. */
  onCommand: (command: Sent, text: string) => void = () => {};

  /** Commands, without pings. */
  get commands(): Sent[] {
    return this.sent.filter(({topics}) => topics.length);
  }

  get pings(): number {
    return this.sent.length - this.commands.length;
  }

  open(): void {
    this.readyState = 1;
    this.fire(this.onopen, {});
  }

  say(frame: object | string): void {
    this.fire(this.onmessage, {data: typeof frame === 'string' ? frame : JSON.stringify(frame)});
  }

  push(topic: string, payload: string, pos?: string): void {
    this.say({topic, payload, ...(pos !== undefined && {pos})});
  }

  end(code = 1006, reason = ''): void {
    this.readyState = 3;
    this.fire(this.onerror, {});
    this.fire(this.onclose, {code, reason});
  }

  private fire(handler: Handler, event: object): void {
    handler?.(event as never);
  }
}

/** How a server answers. */
export interface Manners {
  /** Which topics may not be joined; one refuses the whole join. */
  refused?: Set<string>;
  reason?: string;
  /** Whether it is RoadRunner, which knows no ids. */
  plain?: boolean;
  history?: (topic: string, wish: unknown) => object;
}

/** Let a socket be one of a server that answers. */
export function serve(socket: FakeSocket, manners: Manners = {}): FakeSocket {
  const {refused = new Set(), reason = 'refused with status 403', plain = false} = manners;
  socket.onCommand = ({command, topics, id, history}) => {
    const isRefused = command === 'join' && topics.some((topic) => refused.has(topic));
    const wishes = Object.entries(history ?? {});
    queueMicrotask(() => socket.say({
      topic: `${isRefused ? '#' : '@'}${command}`,
      payload: topics,
      ...(!plain && {id}),
      ...(!plain && isRefused && {reason}),
      ...(!plain && !isRefused && wishes.length && manners.history && {
        history: Object.fromEntries(wishes.map(([topic, wish]) => [topic, manners.history?.(topic, wish)])),
      }),
    }));
  };
  if (socket.readyState === 0) socket.open();
  return socket;
}
