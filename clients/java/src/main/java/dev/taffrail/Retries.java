package dev.taffrail;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongSupplier;

/**
 * Decides after each failure whether there is another try, and waits for it: pauses that double and differ from each other,
 * and a budget of time that recovers.
 */
final class Retries {
  static final long FIRST_PAUSE = Duration.ofMillis(20).toNanos();
  static final long LAST_PAUSE = Duration.ofSeconds(2).toNanos();

  private final long giveUpAfter;
  private final LongSupplier now;
  private long longest = FIRST_PAUSE;
  /**
   * When the present failures began; null without one. The time since the last success does not count, because a program
   * may take long over what it received.
   */
  private Long firstFailure;

  Retries(Duration giveUpAfter) {
    this(giveUpAfter, System::nanoTime);
  }

  Retries(Duration giveUpAfter, LongSupplier now) {
    this.giveUpAfter = giveUpAfter.toNanos();
    this.now = now;
  }

  /** Notes a success: the whole time for failures is available again. */
  void progress() {
    longest = FIRST_PAUSE;
    firstFailure = null;
  }

  /** How long to wait before the next try, in nanoseconds. Throws the error if there is none, or not in time. */
  long pause(TaffrailException error) {
    if (!error.isWorthAnotherTry()) {
      throw error;
    }
    if (firstFailure == null) {
      firstFailure = now.getAsLong();
    }
    long asked = error.retryAfter().toNanos();
    if (now.getAsLong() - firstFailure + asked >= giveUpAfter) {
      // The next call has the whole time again.
      progress();
      throw error;
    }
    // All clients of a broker lose it at the same moment, and should not all come back at the same one.
    long pause = ThreadLocalRandom.current().nextLong(longest / 2, longest);
    longest = Math.min(2 * longest, LAST_PAUSE);
    return Math.max(pause, asked);
  }

  /** Waits for the next try. Throws the error if there is none, or the thread is interrupted. */
  void await(TaffrailException error) {
    long pause = pause(error);
    try {
      Thread.sleep(Duration.ofNanos(pause).toMillis(), (int) (pause % 1_000_000));
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      error.addSuppressed(interrupted);
      throw error;
    }
  }
}
