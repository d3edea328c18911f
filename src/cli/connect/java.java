// io.temporal:temporal-sdk; a worker process reads worker-token.jwt instead    §auth
// io.temporal:temporal-sdk    §open
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;    §tls
import io.temporal.api.workflowservice.v1.CountWorkflowExecutionsRequest;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import java.io.IOException;    §auth
import java.io.UncheckedIOException;    §auth
import java.nio.file.Files;    §auth
import java.nio.file.Path;    §files

public class Connect {
  private static final Path CERTS = Path.of("⟨certs⟩");    §files
    §files
  public static void main(String[] args) throws Exception {
    WorkflowServiceStubsOptions.Builder options =
        WorkflowServiceStubsOptions.newBuilder().setTarget("⟨address⟩");
    options.setEnableHttps(false);    §plain
    options.setSslContext(    §tls
        GrpcSslContexts.forClient()    §tls
            .trustManager(CERTS.resolve("ca.crt").toFile())    §tls
            .keyManager(    §tls
                CERTS.resolve("temporal-client.crt").toFile(),    §tls
                CERTS.resolve("temporal-client.key").toFile())    §tls
            .build());    §tls
    options.setChannelInitializer(channel -> channel.overrideAuthority("⟨server_name⟩"));    §tls
    options.addApiKey(Connect::token);    §auth
    WorkflowServiceStubs service = WorkflowServiceStubs.newServiceStubs(options.build());
    CountWorkflowExecutionsRequest request =
        CountWorkflowExecutionsRequest.newBuilder().setNamespace("⟨namespace⟩").build();
    long count = service.blockingStub().countWorkflowExecutions(request).getCount();
    System.out.println("connected: " + count + " workflows in ⟨namespace⟩");
    service.shutdown();
  }
    §auth
  /** Read for each call: a renewed token needs no restart. */    §auth
  private static String token() {    §auth
    try {    §auth
      return Files.readString(CERTS.resolve("client-token.jwt"));    §auth
    } catch (IOException e) {    §auth
      throw new UncheckedIOException(e);    §auth
    }    §auth
  }    §auth
}
