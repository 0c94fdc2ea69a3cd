import { setTimeout } from "node:timers/promises";

import { isWorthAnotherTry, TaffrailError } from "./errors.js";

export const FIRST_PAUSE_MS = 20;
export const LAST_PAUSE_MS = 2_000;

/**
 * Decides after each failure whether there is another try, and waits for it: pauses that double and differ from each other,
 * and a budget of time that recovers.
 */
export class Retries {
  #longest = FIRST_PAUSE_MS;
  /**
   * When the present failures began; undefined without one. The time since the last success does not count, because a
   * program may take long over what it received.
   */
  #firstFailure: number | undefined;

  /** @param giveUpAfterMs for how long there may be nothing but failures */
  constructor(
    private readonly giveUpAfterMs: number,
    private readonly now = () => performance.now(),
  ) {}

  /** Notes a success: the whole time for failures is available again. */
  progress(): void {
    this.#longest = FIRST_PAUSE_MS;
    this.#firstFailure = undefined;
  }

  /** How long to wait before the next try. Throws the error if there is none, or not in time. */
  pause(error: unknown): number {
    if (!(error instanceof TaffrailError) || !isWorthAnotherTry(error)) throw error;
    this.#firstFailure ??= this.now();
    if (this.now() - this.#firstFailure + error.retryAfterMs >= this.giveUpAfterMs) {
      // The next call has the whole time again.
      this.progress();
      throw error;
    }
    // All clients of a broker lose it at the same moment, and should not all come back at the same one.
    const pause = this.#longest * (0.5 + Math.random() / 2);
    this.#longest = Math.min(2 * this.#longest, LAST_PAUSE_MS);
    return Math.max(pause, error.retryAfterMs);
  }

  /** Waits for the next try. Throws the error if there is none, or why the signal was aborted. */
  async wait(error: unknown, signal?: AbortSignal): Promise<void> {
    const pause = this.pause(error);
    signal?.throwIfAborted();
    await setTimeout(pause, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
  }
}
