package dev.taffrail;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import dev.taffrail.TaffrailException.Refused;
import dev.taffrail.TaffrailException.Unavailable;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** When there is another try, by a clock that the test turns. */
class RetriesTest {
  private static final Unavailable AWAY = new Unavailable("away", null);

  @Test
  void pausesDoubleUpToALimitAndBeginAnewWithProgress() {
    Retries retries = new Retries(Duration.ofDays(1));
    for (int number = 0; number < 20; number++) {
      long longest = Math.min(Retries.FIRST_PAUSE << number, Retries.LAST_PAUSE);
      long pause = retries.pause(AWAY);
      assertTrue(longest / 2 <= pause && pause <= longest, "pause " + number + " is " + pause);
    }
    retries.progress();
    assertTrue(retries.pause(AWAY) <= Retries.FIRST_PAUSE);
    assertEquals(Duration.ofSeconds(7).toNanos(), retries.pause(told(14, "SHUTTING_DOWN", 7)));
  }

  @Test
  void thereIsNoOtherTryWhenTheTimeIsOverAndTheWholeTimeAgainBehindThat() {
    AtomicLong now = new AtomicLong();
    Retries retries = new Retries(Duration.ofNanos(10), now::get);
    for (int round = 0; round < 2; round++) {
      // The time for failures begins with the first failure, however long the program made no call before.
      now.addAndGet(1_000);
      retries.pause(AWAY);
      now.addAndGet(9);
      retries.pause(AWAY);
      retries.progress();
      retries.pause(AWAY);
      now.addAndGet(9);
      retries.pause(AWAY);
      now.addAndGet(2);
      assertThrows(Unavailable.class, () -> retries.pause(AWAY));
    }
  }

  @Test
  void whatWasRefusedIsNotTriedAgainButForWantOfRoom() {
    Retries retries = new Retries(Duration.ofDays(1));
    assertThrows(Refused.class, () -> retries.pause(told(5, "UNKNOWN_TOPIC", 0)));
    retries.pause(told(8, "DISK_FULL", 0));
  }

  @Test
  void aRefusalThatSaysWhenItWillHavePassedIsWaitedForIfThereIsTime() {
    Retries retries = new Retries(Duration.ofSeconds(10));
    assertEquals(Duration.ofSeconds(7).toNanos(), retries.pause(told(8, "QUOTA_EXCEEDED", 7)));
    assertThrows(Refused.class, () -> retries.pause(told(8, "QUOTA_EXCEEDED", 11)));
    assertThrows(Refused.class, () -> retries.pause(told(8, "QUOTA_EXCEEDED", 0)));
  }

  @Test
  void anInterruptEndsThePause() {
    Retries retries = new Retries(Duration.ofDays(1));
    Thread.currentThread().interrupt();
    assertThrows(Unavailable.class, () -> retries.await((Unavailable) told(14, "SHUTTING_DOWN", 1_000)));
    assertTrue(Thread.interrupted());
  }

  @Test
  void keysAreHashedAsKafkasOwnTestsHaveIt() {
    assertEquals(-973_932_308, Wire.murmur2(ByteString.copyFromUtf8("21")));
    assertEquals(-790_332_482, Wire.murmur2(ByteString.copyFromUtf8("foobar")));
    assertEquals(275_646_681, Wire.murmur2(ByteString.EMPTY));
  }

  /** An error as the broker answers it. */
  private static TaffrailException told(int code, String reason, int seconds) {
    RetryInfo.Builder retry = RetryInfo.newBuilder();
    retry.getRetryDelayBuilder().setSeconds(seconds);
    Status status =
        Status.newBuilder()
            .setCode(code)
            .addDetails(Any.pack(ErrorInfo.newBuilder().setReason(reason).build()))
            .addDetails(Any.pack(retry.build()))
            .build();
    return TaffrailException.of(StatusProto.toStatusRuntimeException(status), true);
  }
}
