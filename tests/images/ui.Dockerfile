# Stand-in for temporalio/ui: the same program and configuration template, with the official image's folder, user and entry point.
FROM debian:bookworm-slim
RUN groupadd -g 1000 temporal && useradd -u 1000 -g 1000 -d /home/ui-server temporal
WORKDIR /home/ui-server
COPY server ui-server
COPY docker.yaml config/docker.yaml
USER temporal
EXPOSE 8080
ENTRYPOINT ["./ui-server", "--env", "docker", "start"]
