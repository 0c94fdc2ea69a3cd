/** A server that says what a test tells it to. */

import { Metadata, Server, ServerCredentials, status as Code, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { ServiceDefinition, ServerCredentials as Credentials } from "@grpc/grpc-js";

import { ErrorInfo } from "../src/generated/google/rpc/error_details.js";
import { Status } from "../src/generated/google/rpc/status.js";

export async function serve(
  service: ServiceDefinition,
  methods: UntypedServiceImplementation,
  credentials: Credentials = ServerCredentials.createInsecure(),
): Promise<{ port: number; close(): void }> {
  const server = new Server();
  server.addService(service, methods);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { port, close: () => server.forceShutdown() };
}

/** An error as the broker answers it. */
export function failure(code: Code, reason: string, numbers: { [name: string]: string }): object {
  const info = Buffer.from(ErrorInfo.encode(ErrorInfo.fromPartial({ reason, metadata: numbers })).finish());
  const details = [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: info }];
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(Status.encode(Status.fromPartial({ details })).finish()));
  return { code, details: "refused", metadata };
}
