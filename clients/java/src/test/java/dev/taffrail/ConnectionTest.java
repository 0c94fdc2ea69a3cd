package dev.taffrail;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.ListTopicsRequest;
import dev.taffrail.v1.ListTopicsResponse;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.TlsChannelCredentials;
import io.grpc.TlsServerCredentials;
import io.grpc.stub.ServerCalls;
import java.io.File;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** TLS and tokens, before a server that asks for them. */
@Timeout(60)
class ConnectionTest {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  /** Lists topics of a server; what it was shown. */
  private static List<String> listed(ServerCredentials credentials, UnaryOperator<Client.Builder> options) throws Exception {
    List<String> shown = new ArrayList<>();
    ServerInterceptor note =
        new ServerInterceptor() {
          @Override
          public <Q, R> ServerCall.Listener<Q> interceptCall(
              ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
            shown.add(headers.get(AUTHORIZATION));
            return next.startCall(call, headers);
          }
        };
    ServerCalls.UnaryMethod<ListTopicsRequest, ListTopicsResponse> list =
        (request, responses) -> {
          responses.onNext(ListTopicsResponse.getDefaultInstance());
          responses.onCompleted();
        };
    Server server =
        Grpc.newServerBuilderForPort(0, credentials)
            .addService(
                ServerServiceDefinition.builder("taffrail.v1.Topics")
                    .addMethod(Calls.LIST_TOPICS, ServerCalls.asyncUnaryCall(list))
                    .build())
            .intercept(note)
            .build()
            .start();
    Client.Builder builder = Client.to("localhost:" + server.getPort()).timeout(Duration.ofSeconds(10));
    try (Client client = options.apply(builder).connect()) {
      client.topics("");
      return shown;
    } finally {
      server.shutdownNow();
    }
  }

  @Test
  void tlsIsSpokenWithAnAuthorityAndACertificateOfOnesOwn(@TempDir Path folder) throws Exception {
    File certificate = folder.resolve("certificate").toFile();
    File key = folder.resolve("key").toFile();
    String make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
            + " -addext subjectAltName=DNS:localhost -out " + certificate + " -keyout " + key;
    Process openssl = new ProcessBuilder(make.split(" ")).redirectErrorStream(true).start();
    openssl.getInputStream().readAllBytes();
    assertEquals(0, openssl.waitFor());
    ServerCredentials mutual =
        TlsServerCredentials.newBuilder()
            .keyManager(certificate, key)
            .trustManager(certificate)
            .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE)
            .build();
    var trusting = TlsChannelCredentials.newBuilder().trustManager(certificate);
    var anonymous = trusting.build();
    var own = trusting.keyManager(certificate, key).build();
    assertEquals(1, listed(mutual, builder -> builder.credentials(own)).size());
    assertThrows(Unavailable.class, () -> listed(mutual, builder -> builder.credentials(anonymous)));
    assertThrows(Unavailable.class, () -> listed(mutual, builder -> builder.credentials(TlsChannelCredentials.create())));
    assertThrows(Unavailable.class, () -> listed(mutual, builder -> builder));
  }

  @Test
  void aTokenIsSentAlongWithEveryCall() throws Exception {
    assertEquals(List.of("Bearer secret"), listed(InsecureServerCredentials.create(), builder -> builder.token("secret")));
  }
}
