# Stand-in for rust:X-bookworm: Debian with the host's toolchain where the official image has it.
FROM debian:bookworm-slim
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc g++ libc6-dev make cmake pkg-config git musl-tools \
 && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local/rustup/toolchains/host
RUN mkdir -p /usr/local/cargo/bin \
 && ln -s /usr/local/rustup/toolchains/host/bin/cargo /usr/local/rustup/toolchains/host/bin/rustc /usr/local/cargo/bin/ \
 && rustc --version && cargo --version
