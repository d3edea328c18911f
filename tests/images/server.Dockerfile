# Stand-in for temporalio/server: the same binary from its Go module, at the official path.
FROM scratch
COPY temporal-server /usr/local/bin/temporal-server
CMD ["/usr/local/bin/temporal-server", "start"]
