package dev.taffrail;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.testing.TestBroker;
import dev.taffrail.v1.ListTopicsRequest;
import dev.taffrail.v1.ListTopicsResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
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
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
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

  @Test
  void aTokenStaysOnThisMachineWithoutEncryptionUnlessThatIsAllowed() {
    List<String> elsewhere =
        List.of("broker.example:9640", "http://10.0.0.1:9640", "dns:///broker:1", "127.example:1", "127.0.0.1.example:1",
            "localhost.example:1", "[::2]:1", "dns://10.0.0.1/localhost:1");
    for (String address : elsewhere) {
      var refusal = assertThrows(IllegalArgumentException.class, () -> Client.to(address).token("secret").connect());
      assertTrue(refusal.getMessage().contains("without encryption"), refusal.getMessage());
      var plain = Client.to(address).token("secret").credentials(InsecureChannelCredentials.create());
      assertThrows(IllegalArgumentException.class, plain::connect);
      Client.to(address).token("secret").tokenWithoutEncryption().connect().close();
      Client.to(address).token("secret").credentials(TlsChannelCredentials.create()).connect().close();
    }
    Client.to("https://broker.example:9640").token("secret").connect().close();
    for (String here : List.of("127.1.2.3:1", "http://localhost:1/", "dns:///localhost:1", "[::1]:1")) {
      Client.to(here).token("secret").connect().close();
    }
  }

  @Test
  void whatIsNoTokenIsRefused() {
    for (String token : List.of("", "two words", "line\n", "\u00fcbel")) {
      assertThrows(IllegalArgumentException.class, () -> Client.to("localhost:1").token(token));
    }
  }

  /** Says of every address that it is reached through a proxy, which is not there. */
  private static final class Detour extends ProxySelector {
    @Override
    public List<Proxy> select(URI uri) {
      return List.of(new Proxy(Proxy.Type.HTTP, new InetSocketAddress("127.0.0.1", 1)));
    }

    @Override
    public void connectFailed(URI uri, SocketAddress address, IOException error) {}
  }

  @Test
  void aProxyOfTheMachineIsNotUsedWithoutTls() throws Exception {
    ProxySelector before = ProxySelector.getDefault();
    ProxySelector.setDefault(new Detour());
    try {
      assertEquals(1, listed(InsecureServerCredentials.create(), builder -> builder).size());
      try (TestBroker broker = TestBroker.run()) {
        broker.advance(Duration.ofHours(1));
      }
    } finally {
      ProxySelector.setDefault(before);
    }
  }
}
