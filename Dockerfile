# temporal-warden: PID 1, PKI, JWT and authorising gateway around a self-hosted Temporal server.
# Builds for amd64 and arm64, with the classic builder and with BuildKit. Every image is a build argument.
ARG RUST_IMAGE=rust:1.95.0-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim
ARG TEMPORAL_SERVER_IMAGE=temporalio/server:1.32.1
ARG TEMPORAL_ADMIN_TOOLS_IMAGE=temporalio/admin-tools:1.32.1

FROM ${TEMPORAL_SERVER_IMAGE} AS temporal-server
FROM ${TEMPORAL_ADMIN_TOOLS_IMAGE} AS temporal-tools

# --- the binary: static (musl), so the final image's libc does not matter ----------------------------------------
FROM ${RUST_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake musl-tools xz-utils \
 && rm -rf /var/lib/apt/lists/*
RUN target="$(uname -m)-unknown-linux-musl" \
 && { [ -d "$(rustc --print target-libdir --target "$target")" ] || rustup target add "$target"; }
# The allocator takes the builder's page size for that of every kernel; 64 KiB serves all arm64 ones.
ENV AARCH64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_WITH_LG_PAGE=16
WORKDIR /build
# The dependencies are a layer of their own: it is rebuilt only when Cargo.toml, Cargo.lock or the profile changes.
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY scripts/pgo scripts/pgo
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && RUSTFLAGS="$(scripts/pgo/flags.sh)" cargo build --release --locked --target "$(uname -m)-unknown-linux-musl" \
 && rm -rf src
COPY src src
# Without the touch cargo would trust the stand-in sources' newer build.
RUN find src -name '*.rs' -exec touch {} + \
 && RUSTFLAGS="$(scripts/pgo/flags.sh)" cargo build --release --locked --target "$(uname -m)-unknown-linux-musl" \
 && install -m 0755 "target/$(uname -m)-unknown-linux-musl/release/temporal-warden" /temporal-warden

# --- the image --------------------------------------------------------------------------------------------------
FROM ${DEBIAN_IMAGE}
LABEL org.opencontainers.image.title="temporal-warden" \
      org.opencontainers.image.description="Self-hosted Temporal with mTLS, JWT authorization, audit and rotation in one container" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

# bash, curl, jq and openssl are for people: every check of the guide runs inside this container.
RUN apt-get update \
 && apt-get install -y --no-install-recommends bash ca-certificates curl jq openssl tzdata \
 && rm -rf /var/lib/apt/lists/*

# Temporal and the gateway run as users that can read neither the keys nor each other. PID 1 alone stays root.
# Only Temporal writes /var/lib/temporal; the audit log is root's, readable by the gateway's group. The day on which their (locked)
# passwords were set goes: the image is the same on every one.
RUN groupadd --gid 1000 temporal \
 && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/temporal --shell /usr/sbin/nologin temporal \
 && groupadd --gid 7233 warden-gateway \
 && useradd --uid 7233 --gid 7233 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin warden-gateway \
 && chage --lastday -1 temporal && chage --lastday -1 warden-gateway \
 && install -d -m 0755 /etc/temporal /etc/temporal/certs /usr/local/lib/temporal-warden \
 && install -d -m 0700 /etc/temporal/published \
 && install -d -m 0750 -g warden-gateway /var/log/temporal \
 && install -d -m 0750 -o temporal -g temporal /var/lib/temporal

COPY --from=temporal-server /usr/local/bin/temporal-server /usr/local/bin/temporal-server
COPY --from=temporal-tools /usr/local/bin/temporal-sql-tool /usr/local/bin/temporal-sql-tool
# The real CLI stays out of PATH: `temporal` is the front that also takes the guide's flags and then becomes the real one.
COPY --from=temporal-tools /usr/local/bin/temporal /usr/local/lib/temporal-warden/temporal
COPY scripts/generate-certs.sh scripts/generate-jwt-tokens.sh /usr/local/bin/
COPY --from=build /temporal-warden /usr/local/bin/temporal-warden
RUN ln -s temporal-warden /usr/local/bin/temporal

# For the CLI in this container only; Temporal itself gets a cleaned environment. A token is never preset.
ENV TEMPORAL_ADDRESS=127.0.0.1:7233 \
    TEMPORAL_TLS_CLIENT_CERT_PATH=/etc/temporal/certs/temporal-client.crt \
    TEMPORAL_TLS_CLIENT_KEY_PATH=/etc/temporal/certs/temporal-client.key \
    TEMPORAL_TLS_SERVER_CA_CERT_PATH=/etc/temporal/certs/ca.crt

WORKDIR /etc/temporal
EXPOSE 7233
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 CMD ["/usr/local/bin/temporal-warden", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/temporal-warden"]
CMD ["run"]
