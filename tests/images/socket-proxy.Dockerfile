# Stand-in for wollomatic/socket-proxy: the same paths, user, port and flags (as far as the compose file uses them).
FROM scratch
COPY socket-proxy /socket-proxy
COPY socket-proxy /healthcheck
USER 65534:65534
EXPOSE 2375
ENTRYPOINT ["/socket-proxy"]
