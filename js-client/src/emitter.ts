/** Listeners by event; each is there once. */
export class Emitter<Events extends {[E in keyof Events]: unknown[]}> {
  private readonly listeners: {[E in keyof Events]?: Set<(...args: Events[E]) => void>} = {};

  on<E extends keyof Events>(event: E, listener: (...args: Events[E]) => void): () => void {
    const all = (this.listeners[event] ??= new Set<(...args: Events[E]) => void>());
    all.add(listener);
    return () => void all.delete(listener);
  }

  /** Call the listeners; one that fails is reported as an uncaught error, and the others are called. */
  emit<E extends keyof Events>(event: E, ...args: Events[E]): void {
    const all = this.listeners[event];
    for (const listener of [...(all ?? [])]) {
      // One before it may have taken it away; those that are added meanwhile wait for the next event.
      if (all?.has(listener)) guard(() => listener(...args));
    }
  }

  clear(): void {
    for (const event in this.listeners) this.listeners[event]?.clear();
  }
}

/** Call code of the application; what it throws is not ours to swallow, and may not stop us. */
export function guard(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}
