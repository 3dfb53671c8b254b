/** The time of a test: nothing passes by itself. */

interface Timer {
  due: number;
  call: () => void;
}

const real = {setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: Date.now, random: Math.random};

/** Let everything run that waits for nothing but its turn. */
export const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

/** Takes the place of timers, the date and chance. */
export class Clock {
  now = 1_000_000;
  /** Timers come only at multiples of this, as in a background tab. */
  grid = 1;
  private readonly timers = new Map<number, Timer>();
  private last = 0;

  /** Begin; chance always says `random`. */
  static start(random = 0.5): Clock {
    const clock = new Clock();
    const set = (call: () => void, ms = 0): number => {
      // As in engines, whose timers have 31 bits.
      clock.timers.set(++clock.last, {due: clock.now + (ms < 2 ** 31 ? ms : 1), call});
      return clock.last;
    };
    Object.assign(globalThis, {setTimeout: set, clearTimeout: (timer: number) => clock.timers.delete(timer)});
    Date.now = () => clock.now;
    Math.random = () => random;
    return clock;
  }

  /** Give everything back. */
  stop(): void {
    Object.assign(globalThis, {setTimeout: real.setTimeout, clearTimeout: real.clearTimeout});
    Date.now = real.now;
    Math.random = real.random;
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.timers.size;
  }

  /** Let time pass, and what is due meanwhile happen. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    await turn();
    for (;;) {
      const next = [...this.timers].map(([id, timer]) => ({id, ...timer, at: this.whenItComes(timer.due)}));
      const [first] = next.filter(({at}) => at <= end).sort((one, other) => one.at - other.at);
      if (!first) break;
      this.now = Math.max(this.now, first.at);
      this.timers.delete(first.id);
      first.call();
      await turn();
    }
    this.now = end;
  }

  /** Let time pass without anybody running, as on a machine that sleeps: timers come late. */
  sleep(ms: number): void {
    this.now += ms;
  }

  private whenItComes(due: number): number {
    return Math.max(this.now, Math.ceil(due / this.grid) * this.grid);
  }
}
