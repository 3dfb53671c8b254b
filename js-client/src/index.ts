import {Connector} from './client.js';
import type {AddressSource, Client, Options} from './types.js';

/**
 * Connect to a server, and stay connected.
 *
 * Throws when there can be no connection: without a `WebSocket`, or for what is no URL of one.
 */
export function connect(url: AddressSource, options: Options = {}): Client {
  return new Connector(url, options);
}

export type {
  Address, AddressSource, Client, ClientEvents, History, Joined, Lost, LostReason, Off, Options, Push, Recovered,
  Refused, State, StateChange, Topic, TopicEvents, TopicOptions, TopicState, WebSocketConstructor, WebSocketLike,
} from './types.js';
