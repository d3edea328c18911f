# The stock Temporal CLI. Inside the server's container nothing but --auth-token-file is needed.    §auth
# The stock Temporal CLI. Inside the server's container no flag is needed.    §open
temporal workflow count \
  --address ⟨address⟩ --namespace ⟨namespace⟩ \
  --tls=false \    §plain
  --tls-server-name ⟨server_name⟩ \    §tls
  --tls-ca-path ⟨certs⟩/ca.crt \    §tls
  --tls-cert-path ⟨certs⟩/temporal-client.crt \    §tls
  --tls-key-path ⟨certs⟩/temporal-client.key \    §tls
  --api-key "$(cat ⟨certs⟩/client-token.jwt)" \    §auth
  --color never
