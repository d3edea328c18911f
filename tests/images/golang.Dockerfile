# Stand-in for golang:X-bookworm: Debian with the host's toolchain where the official image has it.
FROM debian:bookworm-slim
ENV GOTOOLCHAIN=local GOPATH=/go PATH=/go/bin:/usr/local/go/bin:$PATH
COPY go /usr/local/go
RUN mkdir -p -m 1777 /go/src /go/bin && go version
WORKDIR /go
