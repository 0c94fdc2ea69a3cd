# A small image with nothing but the broker in it. Two stages, so that the compiler stays behind.
#
#     docker build -t taffrail --build-arg TAFFRAIL_COMMIT=$(git rev-parse --short=12 HEAD) .
#     docker run --read-only -p 127.0.0.1:9640:9640 -p 127.0.0.1:9641:9641 -v taffrail-data:/data taffrail
#
# Nothing is written but below /data.

FROM rust:1-slim-bookworm AS build
WORKDIR /build
# .dockerignore lets in what is needed, and nothing else.
COPY . .
# The data directory is made here because the second stage has no shell to make it with.
ARG TAFFRAIL_COMMIT
# Tables for debuggers are four fifths of the binary.
RUN cargo build --release --locked --bin taffrail && strip target/release/taffrail && mkdir /data

# glibc, CA certificates and an unprivileged user, and no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/taffrail /usr/local/bin/taffrail
COPY --from=build --chown=nonroot:nonroot /data /data
USER nonroot

# Acknowledged records are on this volume and nowhere else: a container without one loses them when it is removed.
VOLUME /data
# Calls, and metrics and health over plain HTTP.
EXPOSE 9640 9641
STOPSIGNAL SIGTERM
# Commands in the container use the administrators' socket, which has places of its own.
ENV TAFFRAIL_SERVER=unix:/data
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/local/bin/taffrail","status","--check"]
ENTRYPOINT ["/usr/local/bin/taffrail"]

# Inside of a container loopback reaches nobody, so this listens on every address of the container, which has neither
# encryption nor access control: `--insecure` says that this is known. Who can reach it is decided by the port that is
# published, as above to this machine only, or by the network that the container is put into.
CMD ["serve", "--data-dir", "/data", "--listen", "0.0.0.0:9640", "--insecure"]
