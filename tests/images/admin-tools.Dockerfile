# Stand-in for temporalio/admin-tools: CLI and schema tool (the schema is embedded), at the official paths.
FROM scratch
COPY temporal temporal-sql-tool /usr/local/bin/
CMD ["/usr/local/bin/temporal"]
