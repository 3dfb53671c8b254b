/** How long we wait for what. */

/**
 * Milliseconds before the next attempt: up to twice as many each time, and a random part of that, so that the
 * clients of a server that was restarted do not come back together.
 */
export function backoff(failures: number, min = 500, max = 20_000): number {
  return Math.min(max, min + Math.random() * Math.min(max, min * 2 ** failures));
}

/** The longest time of a timer; what is longer, engines take for none. */
const LONGEST = 2 ** 31 - 1;

/** A timer that comes so many milliseconds late was throttled, or slept with its machine. */
const LATE = 1_000;

/**
 * Waits for something that may be late because nothing ran meanwhile. A timer of a background tab may come a minute
 * late, and one of a machine that slept an hour; what arrived in time may still be queued behind it. So it waits once
 * more before it gives up.
 */
export class Deadline {
  private timer?: ReturnType<typeof setTimeout>;

  start(ms: number, expire: () => void, isLast = false): void {
    this.stop();
    const due = Date.now() + ms;
    this.timer = setTimeout(() => {
      if (isLast || Date.now() - due < LATE) expire();
      else this.start(ms, expire, true);
    }, Math.min(ms, LONGEST));
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
