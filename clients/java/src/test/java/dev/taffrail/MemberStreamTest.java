package dev.taffrail;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.JoinGroup;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.time.Duration;
import org.junit.jupiter.api.Test;

class MemberStreamTest {
  @Test
  void aStreamThatFailsWhileItIsOpenedSaysWhy() {
    ManagedChannel channel =
        Grpc.newChannelBuilder("localhost:1", InsecureChannelCredentials.create()).directExecutor().build();
    channel.shutdownNow();
    Calls calls = new Calls(channel, Duration.ofSeconds(1));
    try (var stream = new MemberStream(calls, JoinGroup.newBuilder().setSessionTimeoutMs(10_000).build())) {
      assertInstanceOf(Unavailable.class, stream.next(Duration.ZERO).error());
    }
  }
}
