import {backoff} from './timing.js';
import type {Subscription} from './topic.js';
import type {History} from './types.js';
import {isPush, parse, recoveryOf, size, type Command, type PushFrame, type Reply} from './wire.js';

/** A join is one message, of at most 64 KiB and 1,024 topics where nobody has changed these limits. */
const MAX_SIZE = 48 * 1024;
const MAX_TOPICS = 1_000;

/** A place in a topic, on this connection. */
interface Membership {
  topic: Subscription;
  state: 'joining' | 'joined' | 'leaving' | 'refused';
  /** It was joined, and is joined again for its history; a refusal of that changes nothing. */
  isIn: boolean;
  wish?: History;
}

/** Refusals that stay what they are, however often one asks; RoadRunner gives no reason at all. */
const isFinal = (reason: string) => /^$|^(refused|more than|a topic)/.test(reason);

/**
 * The commands of one connection: brings the topics that it is in to those that the application wants. Each topic has
 * one command under way at most, so that answers mean what they say.
 *
 * A join is allowed or refused as a whole: one that is refused is halved until the topics that are to blame are alone.
 */
export class Session {
  private readonly memberships = new Map<string, Membership>();
  private readonly pending = new Map<number, Command>();
  private readonly retries = new Set<ReturnType<typeof setTimeout>>();
  private failures = 0;
  private lastId = 0;
  private isScheduled = false;
  private isOver = false;

  constructor(
    private readonly topics: ReadonlyMap<string, Subscription>,
    private readonly me: string,
    private readonly send: (text: string) => void,
  ) {}

  get isBusy(): boolean {
    return this.pending.size > 0;
  }

  /** Join and leave what has changed, all changes of this turn together. */
  schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      if (!this.isOver) this.sync();
    });
  }

  /** Ask for an answer, and for nothing else: RoadRunner answers this, too. */
  ping(): void {
    this.command('leave', []);
  }

  /** Take a frame; `areValues` is said of payloads: they are JSON already, and no text. */
  receive(text: string, areValues: boolean): void {
    const frame = parse(text);
    if (!frame) return;
    if (isPush(frame, areValues)) return this.pushed(frame, areValues);
    const command = this.answered(frame);
    if (frame.topic === '#gap' && Array.isArray(frame.payload)) {
      for (const name of frame.payload) this.topics.get(name)?.lost({reason: 'gap'});
    } else if (command?.command === 'leave') {
      // Also when it failed: what still comes is not wanted.
      for (const name of command.topics) this.memberships.delete(name);
    } else if (command) {
      if (frame.topic === '@join') this.joined(command, frame);
      else this.refused(command.topics, frame.reason ?? '');
    }
    if (command?.topics.length) this.schedule();
  }

  private pushed(frame: PushFrame, isValue: boolean): void {
    const topic = this.topics.get(frame.topic);
    // One that was left and is asked for again gets nothing of the place of before: a hole may follow.
    if (topic === (this.memberships.get(frame.topic)?.topic ?? topic)) topic?.received(frame, isValue);
  }

  end(): void {
    this.isOver = true;
    this.retries.forEach(clearTimeout);
    for (const topic of this.topics.values()) topic.disconnected();
  }

  private sync(): void {
    const leaves: string[] = [];
    for (const [name, place] of this.memberships) {
      if (this.topics.get(name) === place.topic) continue;
      if (place.state === 'refused') this.memberships.delete(name);
      if (place.state !== 'joined') continue;
      place.state = 'leaving';
      leaves.push(name);
    }
    this.inParts(leaves, (names) => this.command('leave', names));
    const joins: string[] = [];
    const alone: string[] = [];
    for (const [name, topic] of this.topics) {
      const place = this.memberships.get(name);
      if (place && !(place.state === 'joined' && topic.wished && !place.wish)) continue;
      // What was refused on the last connection would only refuse the others.
      (topic.state === 'refused' ? alone : joins).push(name);
      this.memberships.set(name, {topic, state: 'joining', isIn: place !== undefined});
    }
    this.inParts(joins, (names) => this.join(names));
    for (const name of alone) this.join([name]);
  }

  private joinAll(parts: string[][]): void {
    for (const part of parts) if (part.length) this.join(part);
  }

  private join(names: string[]): void {
    const wishes: [string, History][] = [];
    for (const name of names) {
      const place = this.memberships.get(name);
      if (!place) continue;
      place.wish = place.topic.wished;
      if (place.wish) wishes.push([name, place.wish]);
    }
    // As own properties, whatever the names are.
    this.command('join', names, wishes.length ? {history: Object.fromEntries(wishes)} : {});
  }

  private command(command: 'join' | 'leave', topics: string[], more: Partial<Command> = {}): void {
    const id = ++this.lastId;
    const first = id === 1 ? {me: this.me} : {};
    const made: Command = {command, topics, id, ...first, ...more};
    this.pending.set(id, made);
    this.send(JSON.stringify(made));
  }

  /** Return the command that a frame answers. Without ids, answers come in the order of the commands. */
  private answered(frame: Reply): Command | undefined {
    if (!/^([@#](join|leave)|#error)$/.test(frame.topic)) return undefined;
    const [oldest] = frame.topic === '#error' ? [] : this.pending.keys();
    const id = typeof frame.id === 'number' ? frame.id : oldest;
    const command = this.pending.get(id as number);
    this.pending.delete(id as number);
    return command;
  }

  private joined({topics, history}: Command, reply: Reply): void {
    this.failures = 0;
    for (const name of topics) {
      const place = this.memberships.get(name);
      if (this.isOver) return;  // by a listener: the next connection joins the rest
      if (!place) continue;
      place.state = 'joined';
      if (this.topics.get(name) === place.topic) place.topic.joined(place.wish, history && recoveryOf(reply, name));
    }
  }

  private refused(names: string[], reason: string): void {
    const temporary = !isFinal(reason);
    const wanted = this.wanted(names);
    const half = Math.ceil(wanted.length / 2);
    const halves = [wanted.slice(0, half), wanted.slice(half)];
    if (temporary || names.length === 1) {
      for (const name of wanted) {
        const place = this.memberships.get(name);
        if (place && !temporary) place.state = place.isIn ? 'joined' : 'refused';
        place?.topic.refused(reason, temporary);
      }
    }
    if (this.isOver) return;
    // When the server has too much to do, more questions make it worse; else one topic may be what it fails at.
    if (temporary) this.later(/later$/.test(reason) ? [wanted] : halves);
    else if (names.length > 1) this.joinAll(halves);
  }

  private later(parts: string[][]): void {
    const timer = setTimeout(() => {
      this.retries.delete(timer);
      this.joinAll(parts.map((names) => this.wanted(names)));
      this.schedule();
    }, backoff(this.failures++));
    this.retries.add(timer);
  }

  /** Those that the application has not left since they were asked for; the others are forgotten. */
  private wanted(names: string[]): string[] {
    return names.filter((name) => {
      const place = this.memberships.get(name);
      if (place && place.topic === this.topics.get(name)) return true;
      if (place?.isIn) place.state = 'joined';  // so that it is left
      else this.memberships.delete(name);
      return false;
    });
  }

  private inParts(names: string[], use: (names: string[]) => void): void {
    let part: string[] = [];
    let bytes = 0;
    for (const name of names) {
      // In the list and, with a position of up to 64 characters, in `history`.
      const more = 2 * size(name) + 70;
      if (bytes + more > MAX_SIZE || part.length === MAX_TOPICS) {
        use(part);
        part = [];
        bytes = 0;
      }
      part.push(name);
      bytes += more;
    }
    if (part.length) use(part);
  }
}
