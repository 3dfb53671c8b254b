import type {History} from './types.js';

/** What of a topic's history the answer to a join tells. */
export interface Recovery {
  pos?: string;
  recovered?: boolean;
  count?: number;
  reason?: string;
}

/** The subprotocol in which the payload of a push is a value of JSON, and no text. */
export const JSON_PROTOCOL = 'rr.json';

/** A message of a topic. */
export interface PushFrame {
  topic: string;
  payload: unknown;
  pos?: string;
}

/** An answer, or a word of the server: its topic begins with `@` or `#`. */
export interface Reply {
  topic: string;
  payload: unknown;
  id?: unknown;
  reason?: string;
  history?: {[topic: string]: Recovery};
}

/** Return what a frame says; null for what no server of ours sends. */
export function parse(text: string): PushFrame | Reply | null {
  try {
    const frame: unknown = JSON.parse(text);
    return typeof (frame as Reply).topic === 'string' ? (frame as Reply) : null;
  } catch {
    return null;
  }
}

/**
 * Payloads of pushes are text, those of replies never are: a topic may have any name. Where payloads are values, it is
 * our own server, whose replies to us all have an id.
 */
export function isPush(frame: PushFrame | Reply, areValues: boolean): frame is PushFrame {
  return areValues ? !('id' in frame) : typeof frame.payload === 'string';
}

/** Return what is said of a topic; names such as `__proto__` are names like others. */
export function recoveryOf(reply: Reply, topic: string): Recovery | undefined {
  const {history} = reply;
  return history && Object.prototype.hasOwnProperty.call(history, topic) ? history[topic] : undefined;
}

/** One command. */
export interface Command {
  command: 'join' | 'leave';
  topics: string[];
  id: number;
  me?: string;
  history?: {[topic: string]: History};
}

const encoder = new TextEncoder();

/** Bytes of a text in a frame. */
export function size(text: string): number {
  return encoder.encode(JSON.stringify(text)).length;
}
