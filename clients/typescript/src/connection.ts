/** What grpc-js does: one connection, calls with one answer, and streams of them. */

import { isIPv4 } from "node:net";

import {
  Client,
  credentials,
  Metadata,
  type ChannelCredentials,
  type ChannelOptions,
  type ClientDuplexStream,
  type ClientReadableStream,
  type MethodDefinition,
  type StatusObject,
} from "@grpc/grpc-js";

import { fromStatus, TaffrailError, Unavailable } from "./errors.js";

export const VERSION = "0.1.0";

/** The largest response that is taken, and asked for. */
export const MAX_RESPONSE_BYTES = 16 << 20;

/** How to connect. */
export interface ClientOptions {
  /**
   * Speak TLS, as `https://` in the address says too: with authorities other than the system's, with a certificate of the
   * client's own, with another name than the address has for what the broker's certificate says. All are PEM.
   */
  tls?: boolean | { ca?: Buffer; certificate?: Buffer; key?: Buffer; serverName?: string };
  /** Sent along with every call as `authorization: Bearer TOKEN`; a function is asked before each. */
  token?: string | (() => string | Promise<string>);
  /** Send the token without TLS to other machines, too. */
  tokenWithoutEncryption?: boolean;
  /** How long to wait for an answer. Default: 30 s. Reads and members are not bounded by it. */
  timeoutMs?: number;
  /** Options of grpc-js, over those that are set here. */
  channelOptions?: ChannelOptions;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call. The outcome of a change that was sent is unknown then; other calls reject with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/**
 * grpc-js refuses responses above 4 MiB, of which a topic with larger records has some; waits up to two minutes before it
 * connects again; does not notice a connection that is there on one side only; and shares connections among clients.
 */
const DEFAULTS: ChannelOptions = {
  "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.primary_user_agent": `taffrail-typescript/${VERSION}`,
};

type Method<Request, Response> = MethodDefinition<Request, Response>;

export class Connection {
  readonly #grpc: Client;
  readonly #token: ClientOptions["token"];
  readonly #timeoutMs: number;
  readonly #calls = new Set<{ cancel(): void }>();
  #isClosed = false;

  constructor(address: string, options: ClientOptions) {
    const { tls, token, tokenWithoutEncryption = false, timeoutMs = 30_000, channelOptions } = options;
    const isSecure = tls ?? address.startsWith("https://");
    const target = address.replace(/^https?:\/\//, "").replace(/(?<=^[^/]*)\/$/, "");
    if (token !== undefined && !isSecure && !tokenWithoutEncryption && !isHere(target)) {
      throw new TypeError(
        `the token would go to ${address} without encryption; use TLS, or allow it with tokenWithoutEncryption`,
      );
    }
    if (typeof token === "string") checkToken(token);
    const { ca, key, certificate, serverName } = typeof isSecure === "object" ? isSecure : {};
    const named: ChannelOptions = serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName };
    const secured: ChannelCredentials = isSecure
      ? credentials.createSsl(ca, key, certificate)
      : credentials.createInsecure();
    // A proxy of the environment is for what leaves the network, with TLS through it; it need not reach a broker that is near.
    const direct: ChannelOptions = isSecure ? {} : { "grpc.enable_http_proxy": 0 };
    this.#grpc = new Client(target, secured, { ...DEFAULTS, ...direct, ...named, ...channelOptions });
    this.#token = token;
    this.#timeoutMs = timeoutMs;
  }

  /** Ends every call that is under way. */
  close(): void {
    this.#isClosed = true;
    for (const call of this.#calls) call.cancel();
    this.#grpc.close();
  }

  /** A call that changes nothing. */
  ask<Q, R>(method: Method<Q, R>, request: Q, options?: CallOptions): Promise<R> {
    return this.#unary(method, request, false, this.#timeoutMs, options?.signal);
  }

  /** A call that changes something: its outcome is unknown if its answer is lost. */
  change<Q, R>(method: Method<Q, R>, request: Q, options?: CallOptions, timeoutMs = this.#timeoutMs): Promise<R> {
    return this.#unary(method, request, true, timeoutMs, options?.signal);
  }

  /** A call with many responses. It ends with the signal, too. */
  async read<Q, R>(method: Method<Q, R>, request: Q, signal?: AbortSignal): Promise<Responses<R>> {
    const metadata = await this.#metadata(signal);
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.#grpc.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
    this.#watch(call, signal);
    return new Responses(call, signal);
  }

  /** A call with messages in both directions. */
  async converse<Q, R>(method: Method<Q, R>): Promise<ClientDuplexStream<Q, R>> {
    const metadata = await this.#metadata();
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.#grpc.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    this.#watch(call);
    return call;
  }

  async #unary<Q, R>(method: Method<Q, R>, request: Q, isChange: boolean, timeoutMs: number, signal?: AbortSignal) {
    const metadata = await this.#metadata(signal);
    const { path, requestSerialize, responseDeserialize } = method;
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise<R>((resolve, reject) => {
      const call = this.#grpc.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        options,
        (error, response) => {
          if (error === null) return resolve(response as R);
          const failure = fromStatus(error, isChange, signal?.reason);
          reject(signal?.aborted && failure instanceof Unavailable ? signal.reason : failure);
        },
      );
      this.#watch(call, signal);
    });
  }

  async #metadata(signal?: AbortSignal): Promise<Metadata> {
    signal?.throwIfAborted();
    const metadata = new Metadata();
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    if (token !== undefined) {
      checkToken(token);
      metadata.set("authorization", `Bearer ${token}`);
    }
    if (this.#isClosed) throw new TaffrailError("the client was closed");
    return metadata;
  }

  #watch(call: { cancel(): void; once(event: "status", listener: () => void): unknown }, signal?: AbortSignal): void {
    const cancel = () => call.cancel();
    this.#calls.add(call);
    signal?.addEventListener("abort", cancel, { once: true });
    call.once("status", () => {
      this.#calls.delete(call);
      signal?.removeEventListener("abort", cancel);
    });
  }
}

function checkToken(token: string): void {
  if (/^[!-~]+$/.test(token)) return;
  throw new TypeError("that is no token: it is empty, or has signs in it that no token has");
}

/** Whether what is sent to the target stays on this machine. */
function isHere(target: string): boolean {
  if (/^unix(-abstract)?:/.test(target)) return true;
  const host = target
    .replace(/^(dns|ipv4|ipv6):(\/\/\/)?/, "")
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1");
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

/** The responses of a call, as they are asked for: what is not taken is not sent. */
export class Responses<R> {
  #status: StatusObject | undefined;
  #wake = () => {};

  constructor(
    private readonly call: ClientReadableStream<R> | ClientDuplexStream<never, R>,
    private readonly signal?: AbortSignal,
  ) {
    // grpc-js tells an error before responses that it has got, and the status again; "end" comes behind the last of them.
    call.on("error", () => {});
    call.on("status", (status: StatusObject) => (this.#status = status));
    call.on("readable", () => this.#wake());
    call.on("end", () => this.#wake());
  }

  /** The next one; undefined at the end. */
  async next(): Promise<R | undefined> {
    for (;;) {
      const response = this.call.read() as R | null;
      if (response !== null) return response;
      if (this.call.readableEnded && this.#status) {
        if (this.#status.code === 0) return undefined;
        this.signal?.throwIfAborted();
        throw fromStatus(this.#status, false);
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  cancel(): void {
    this.call.cancel();
  }
}
