//! Every method of the table against every scope, through the running gateway.

#[path = "gateway/mod.rs"]
mod gateway;

use gateway::{Gateway, INFO, LIST, client};
use temporal_warden::{
    gateway::methods::{Access, METHODS},
    tokens::{Scope, Scopes},
};

const HEALTH: &str = "grpc.health.v1.Health";

#[tokio::test]
async fn each_scope_reaches_the_backend_with_its_methods_and_with_no_other() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    for scope in Scope::ALL {
        let authorization = client::bearer(&gateway.token(scope.as_str()));
        for row in METHODS.iter().filter(|row| row.service != HEALTH) {
            let path = format!("/{}/{}", row.service, row.name);
            let before = gateway.backend.count();
            let reply = client::call(&send, &path, &[("authorization", &authorization)]).await.unwrap();
            let allowed = row.access.allows(Scopes::from(scope));
            let reached = gateway.backend.count() - before;
            assert_eq!((reply.status(), reached), if allowed { (0, 1) } else { (7, 0) }, "{scope} {path}");
            if !allowed {
                let message = reply.message();
                assert!(message.starts_with(&format!("Forbidden: scope {scope} may not call")), "{message}");
                let named = format!(" {} of {},", row.name, row.service);
                assert!(message.contains(&named) && message.contains("temporal-system"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_method_that_is_not_in_the_table_needs_system() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let path = "/temporal.api.workflowservice.v1.WorkflowService/NewNextYear";
    assert_eq!(gateway.call(&send, path, "temporal-client temporal-worker").await.status(), 7);
    assert_eq!(gateway.call(&send, path, "temporal-system").await.status(), 0);
}

#[tokio::test]
async fn open_methods_need_no_token_and_a_bad_one_is_removed_there() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    assert_eq!(METHODS.iter().filter(|row| row.access == Access::Open && row.service != HEALTH).count(), 1);
    assert_eq!(client::call(&send, INFO, &[]).await.unwrap().status(), 0);
    let bad = client::call(&send, INFO, &[("authorization", "Bearer nonsense")]).await.unwrap();
    assert_eq!(bad.status(), 0);
    assert!(!gateway.backend.last_headers().contains_key("authorization"));
    let good = client::bearer(&gateway.token("temporal-client"));
    client::call(&send, LIST, &[("authorization", &good)]).await.unwrap();
    assert_eq!(gateway.backend.last_headers()["authorization"], good);
}

#[tokio::test]
async fn identity_headers_of_a_client_are_not_passed_on() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let headers = [("authorization", token.as_str()), ("temporal-principal-name", "root"), ("x-mine-bin", "AAEC")];
    client::call(&send, LIST, &headers).await.unwrap();
    let seen = gateway.backend.last_headers();
    assert!(!seen.contains_key("temporal-principal-name"));
    assert_eq!((&seen["x-mine-bin"], &seen["te"]), (&"AAEC".parse().unwrap(), &"trailers".parse().unwrap()));
}
