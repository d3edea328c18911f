# Stand-in for debian:bookworm-slim: a minimal bootstrap imported by scripts/dev/images.sh, with the host's trust.
FROM temporal-warden-standin/debian-plain
COPY ca-bundle.crt /etc/ssl/certs/ca-certificates.crt
# The private part of that trust survives a later `update-ca-certificates` only as files of its own.
RUN awk '/BEGIN CERT/{n++} {print > ("/usr/local/share/ca-certificates/host-" n ".crt")}' /etc/ssl/certs/ca-certificates.crt \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
CMD ["bash"]
