import { ambient, type HeaterLimits } from './limits.ts';

/** Model of a heater: its temperature moves linearly towards the target. Times in s, temperatures in °C. */
export class Heater {
  readonly #limits: HeaterLimits;
  #target = 0;
  #from = ambient;
  #since = 0;

  constructor(limits: HeaterLimits) {
    this.#limits = limits;
  }

  get target(): number {
    return this.#target;
  }

  temperature(now: number): number {
    const goal = Math.max(this.#target, ambient);
    const elapsed = now - this.#since;
    return goal >= this.#from
      ? Math.min(this.#from + elapsed * this.#limits.warming, goal)
      : Math.max(this.#from - elapsed * this.#limits.cooling, goal);
  }

  set(target: number, now: number): void {
    this.#from = this.temperature(now);
    this.#since = now;
    this.#target = Math.min(Math.max(target, 0), this.#limits.max);
  }

  /**
   * Seconds until the target is reached. Cooling counts only if requested, as in firmware (S waits for heating, R for
   * both).
   */
  wait(now: number, cooling: boolean): number {
    if (this.#target <= ambient) return 0;
    const missing = this.#target - this.temperature(now);
    if (missing >= 0) return missing / this.#limits.warming;
    return cooling ? -missing / this.#limits.cooling : 0;
  }
}
