import {Deadline} from './timing.js';
import type {WebSocketLike} from './types.js';

/** A handshake is answered within 10 s, whatever PHP does. */
const OPEN_TIMEOUT = 15_000;
const ANSWER_TIMEOUT = 10_000;
/** Commands before ours may wait for PHP, each up to 10 s. */
const BUSY_TIMEOUT = 30_000;

/** What a link tells about itself. */
export interface LinkOwner {
  opened(): void;
  received(text: string): void;
  ended(code: number, reason: string): void;
  /** Send a command that is answered. */
  ping(): void;
  isBusy(): boolean;
}

/**
 * One WebSocket from its attempt to its end, which is told once. A browser says nothing of a connection whose other
 * end has vanished, and does not show pings, so a link that hears nothing asks the server for an answer.
 */
export class Link {
  private over = false;
  private heard = false;
  private isAsking = false;
  private readonly deadline = new Deadline();

  constructor(
    private readonly socket: WebSocketLike,
    private readonly owner: LinkOwner,
    private readonly quiet: number,
  ) {
    socket.onopen = () => {
      if (this.over) return;
      this.listen();
      owner.opened();
    };
    socket.onmessage = ({data}: {data: unknown}) => {
      if (this.over) return;
      this.heard = true;
      if (this.isAsking) this.listen();
      if (typeof data === 'string') owner.received(data);
    };
    socket.onclose = ({code, reason}: {code: number; reason: string}) => this.end(code, reason);
    socket.onerror = () => {};  // `onclose` follows
    this.deadline.start(OPEN_TIMEOUT, () => this.abandon('no answer to the handshake'));
  }

  get isOpen(): boolean {
    return !this.over && this.socket.readyState === 1;
  }

  send(text: string): void {
    if (this.isOpen) this.socket.send(text);
  }

  /** Find out whether the connection still works. */
  probe(): void {
    if (this.over) return;
    if (this.socket.readyState > 1) return this.abandon('connection lost');  // its event may never come
    if (!this.isOpen || this.isAsking) return;
    this.isAsking = true;
    const time = this.owner.isBusy() ? BUSY_TIMEOUT : ANSWER_TIMEOUT;
    this.deadline.start(time, () => this.abandon('the server does not answer'));
    this.owner.ping();
  }

  /** Close it without another word to the owner. */
  drop(): void {
    this.over = true;
    this.deadline.stop();
    try {
      this.socket.close(1000);
    } catch { /* it is not open yet, for some */ }
  }

  private listen(): void {
    this.isAsking = this.heard = false;
    if (this.quiet) this.deadline.start(this.quiet, () => (this.heard ? this.listen() : this.probe()), true);
    else this.deadline.stop();
  }

  private abandon(reason: string): void {
    if (this.over) return;
    this.drop();
    this.owner.ended(1006, reason);
  }

  private end(code: number, reason: string): void {
    if (this.over) return;
    this.over = true;
    this.deadline.stop();
    this.owner.ended(code, reason);
  }
}
