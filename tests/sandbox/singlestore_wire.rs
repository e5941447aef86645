//! `SingleStore` over HTTP: paths, bodies, errors in plain text and as pages, faults by the name of the call, the portal.

use std::time::{Duration, Instant};

use cmk_operator::sandbox::http::{Options, Running, serve};
use cmk_operator::sandbox::{SINGLESTORE_API_KEY as API_KEY, SINGLESTORE_ORGANIZATION as ORG};
use reqwest::{Client, Method};
use serde_json::{Value, json};

async fn start() -> Running {
    let running = serve(Options::default()).await.unwrap();
    running.shared.set_speed(0.0);
    running
}

struct Said {
    status: u16,
    kind: String,
    retry_after: Option<String>,
    text: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!((self.status, self.kind.as_str()), (200, "application/json"), "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn sent(running: &Running, method: Method, path: &str, body: Option<Value>) -> Result<Said, reqwest::Error> {
    let url = format!("{}{path}", running.addresses.singlestore);
    let mut request = Client::new().request(method, url).bearer_auth(API_KEY).timeout(Duration::from_secs(10));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await?;
    let header = |name: &str| response.headers().get(name).map(|h| h.to_str().unwrap().to_owned());
    let (status, kind, retry_after) = (response.status().as_u16(), header("content-type"), header("retry-after"));
    Ok(Said { status, kind: kind.unwrap_or_default(), retry_after, text: response.text().await? })
}

async fn ask(running: &Running, method: Method, path: &str, body: Option<Value>) -> Said {
    sent(running, method, path, body).await.unwrap()
}

async fn control(running: &Running, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}{path}", running.addresses.control);
    let response = Client::new().post(url).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn fault(running: &Running, operation: &str, fault: Value) {
    let rule = json!({"match": {"operation": operation, "nth": 1}, "fault": fault});
    assert_eq!(control(running, "/faults", rule).await.0, 200);
}

fn form(name: &str) -> Value {
    json!({"name": name, "provider": "AWS", "regionName": "us-east-1", "firewallRanges": []})
}

async fn make(running: &Running) -> String {
    let made = ask(running, Method::POST, "/v1/workspaceGroups", Some(form("g"))).await.json();
    running.shared.advance(3000);
    made["workspaceGroupID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_calls_one_by_one() {
    let running = start().await;
    let get = async |path: String| ask(&running, Method::GET, &path, None).await;
    let org = get("/v1/organizations/current".into()).await.json();
    assert_eq!(org["orgID"], ORG);
    assert_eq!(get("/v1/regions?fields=region".into()).await.json()[0].as_object().unwrap().len(), 1);
    let id = make(&running).await;
    let base = format!("/v1/workspaceGroups/{id}");
    let shown = get(base.clone()).await.json();
    assert_eq!((&shown["state"], &shown["regionName"]), (&json!("ACTIVE"), &json!("us-east-1")));
    assert!(shown.get("adminPassword").is_none() && shown.get("dataBucketKMSKeyID").is_none());
    let only = get(format!("{base}?fields=name,state")).await.json();
    assert_eq!(only, json!({"name": "g", "state": "ACTIVE"}));
    let renamed = ask(&running, Method::PATCH, &base, Some(json!({"name": "h", "expiresAt": null}))).await.json();
    assert_eq!(renamed, json!({"workspaceGroupID": id}));
    assert!(get(format!("{base}/identity")).await.json()["identity"].as_str().unwrap().starts_with("arn:aws:iam::"));
    let workspace = json!({"name": "w", "workspaceGroupID": id, "size": "S-00", "autoSuspend": null});
    let inside = ask(&running, Method::POST, "/v1/workspaces", Some(workspace)).await.json();
    let inside = format!("/v1/workspaces/{}", inside["workspaceID"].as_str().unwrap());
    running.shared.advance(2000);
    assert_eq!(get(format!("/v1/workspaces?workspaceGroupID={id}")).await.json()[0]["state"], "ACTIVE");
    assert_eq!(get(format!("{inside}/privateConnections/outboundAllowList")).await.json().as_array().unwrap().len(), 1);
    for (call, then) in [("suspend", "SUSPENDED"), ("resume", "ACTIVE")] {
        ask(&running, Method::POST, &format!("{inside}/{call}"), Some(json!({}))).await.json();
        running.shared.advance(2000);
        assert_eq!(get(inside.clone()).await.json()["state"], then);
    }
    ask(&running, Method::PATCH, &inside, Some(json!({"size": "S-1"}))).await.json();
    running.shared.advance(2000);
    // Replication: the calls that change it answer with nothing.
    let regions = get(format!("{base}/storage/DR/regions")).await.json();
    let set_up = json!({"regionID": regions[0]["regionID"], "databaseNames": ["db"]});
    for (method, path, body) in [
        (Method::POST, "setup", Some(set_up)),
        (Method::PATCH, "startPreProvision", None),
        (Method::PATCH, "stopPreProvision", None),
        (Method::PATCH, "failover", None),
        (Method::PATCH, "failback", None),
    ] {
        let said = ask(&running, method, &format!("{base}/storage/DR/{path}"), body).await;
        assert_eq!((said.status, said.text.as_str()), (200, ""), "{path}");
        running.shared.advance(2000);
    }
    let status = get(format!("{base}/storage/DR/status")).await.json();
    assert_eq!(status["compute"]["storageDRType"], "Failback");
    assert_eq!(status["storage"][0]["duplicationState"], "Active");
    ask(&running, Method::DELETE, &inside, None).await.json();
    running.shared.advance(1000);
    assert_eq!(ask(&running, Method::DELETE, &format!("{base}?force=true"), None).await.json()["workspaceGroupID"], id);
    running.shared.advance(1000);
    let left = get("/v1/workspaceGroups".into()).await.json();
    assert_eq!(left, json!([]), "the second region's group ended too");
    assert_eq!(get("/v1/workspaceGroups?includeTerminated=true".into()).await.json().as_array().unwrap().len(), 3);
    for (method, path) in [
        (Method::GET, "/v1/nothing"),
        (Method::PUT, "/v1/workspaceGroups"),
        (Method::PATCH, "/v1/workspaceGroups/x/storage/DR/nothing"),
    ] {
        assert_eq!(ask(&running, method, path, None).await.status, 404, "{path}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn errors_are_plain_text_or_a_page() {
    let running = start().await;
    let said = ask(&running, Method::GET, "/v1/workspaceGroups/nonsense", None).await;
    assert_eq!((said.status, said.kind.as_str()), (400, "text/plain; charset=utf-8"));
    assert!(said.text.contains("UUID"));
    let said = ask(&running, Method::POST, "/v1/workspaceGroups", Some(json!({"name": 7}))).await;
    assert_eq!((said.status, said.text.starts_with("Invalid request: ")), (400, true), "{}", said.text);
    let url = format!("{}/v1/workspaceGroups", running.addresses.singlestore);
    let nobody = Client::new().get(&url).send().await.unwrap();
    assert_eq!((nobody.status().as_u16(), nobody.text().await.unwrap().as_str()), (401, "Unauthorized\n"));
    let page = json!({"error": {"status": 502, "code": "html", "message": "Bad Gateway"}});
    fault(&running, "singlestore:ListWorkspaceGroups", page).await;
    let said = ask(&running, Method::GET, "/v1/workspaceGroups", None).await;
    assert_eq!((said.status, said.kind.as_str()), (502, "text/html"));
    assert!(said.text.contains("<title>502 Bad Gateway</title>"));
    // Even with a status that says yes.
    let page = json!({"error": {"status": 200, "code": "html", "message": "Please wait"}});
    fault(&running, "singlestore:ListWorkspaceGroups", page).await;
    let said = ask(&running, Method::GET, "/v1/workspaceGroups", None).await;
    assert_eq!((said.status, said.kind.as_str()), (200, "text/html"));
    let pages = json!({"singlestore": {"patch_settings": {"org": ORG, "settings": {"html_errors": true}}}});
    assert_eq!(control(&running, "/world", pages).await.0, 200);
    fault(&running, "singlestore:ListRegions", json!({"http500": {"applied": false}})).await;
    let said = ask(&running, Method::GET, "/v1/regions", None).await;
    assert_eq!((said.status, said.kind.as_str()), (500, "text/html"));
    running.shutdown().await;
}

/// Every call has a name of its own that a fault rule can hit.
#[tokio::test]
async fn each_call_can_be_hit_by_its_name() {
    let running = start().await;
    let group = make(&running).await;
    let group = format!("/v1/workspaceGroups/{group}");
    let inside = "/v1/workspaces/11111111-2222-4333-8444-555555555555";
    let calls = [
        ("GetCurrentOrganization", Method::GET, "/v1/organizations/current".to_owned()),
        ("ListProjects", Method::GET, "/v1/projects".into()),
        ("ListRegions", Method::GET, "/v1/regions".into()),
        ("ListRegionsV2", Method::GET, "/v2/regions".into()),
        ("ListWorkspaceGroups", Method::GET, "/v1/workspaceGroups".into()),
        ("CreateWorkspaceGroup", Method::POST, "/v1/workspaceGroups".into()),
        ("GetWorkspaceGroup", Method::GET, group.clone()),
        ("UpdateWorkspaceGroup", Method::PATCH, group.clone()),
        ("TerminateWorkspaceGroup", Method::DELETE, group.clone()),
        ("GetWorkspaceGroupIdentity", Method::GET, format!("{group}/identity")),
        ("ListReplicationRegions", Method::GET, format!("{group}/storage/DR/regions")),
        ("SetUpReplication", Method::POST, format!("{group}/storage/DR/setup")),
        ("GetReplicationStatus", Method::GET, format!("{group}/storage/DR/status")),
        ("Failover", Method::PATCH, format!("{group}/storage/DR/failover")),
        ("Failback", Method::PATCH, format!("{group}/storage/DR/failback")),
        ("StartPreProvision", Method::PATCH, format!("{group}/storage/DR/startPreProvision")),
        ("StopPreProvision", Method::PATCH, format!("{group}/storage/DR/stopPreProvision")),
        ("ListWorkspaces", Method::GET, "/v1/workspaces?workspaceGroupID=x".into()),
        ("CreateWorkspace", Method::POST, "/v1/workspaces".into()),
        ("GetWorkspace", Method::GET, inside.into()),
        ("UpdateWorkspace", Method::PATCH, inside.into()),
        ("TerminateWorkspace", Method::DELETE, inside.into()),
        ("SuspendWorkspace", Method::POST, format!("{inside}/suspend")),
        ("ResumeWorkspace", Method::POST, format!("{inside}/resume")),
        ("GetOutboundAllowList", Method::GET, format!("{inside}/privateConnections/outboundAllowList")),
    ];
    for (operation, method, path) in calls {
        let operation = format!("singlestore:{operation}");
        fault(&running, &operation, json!({"throttle": {}})).await;
        for retry_after in [None, Some("7")] {
            let said = ask(&running, method.clone(), &path, Some(json!({}))).await;
            assert_eq!((said.status, said.retry_after.as_deref()), (429, retry_after), "{operation}");
            if retry_after.is_none() {
                fault(&running, &operation, json!({"throttle": {"retry_after_s": 7}})).await;
            }
        }
        let seen = running.shared.with(|world| world.log().last().unwrap().operation.clone());
        assert_eq!(seen, operation);
        running.shared.with(cmk_operator::sandbox::World::clear_faults);
    }
    running.shutdown().await;
}

#[tokio::test]
async fn replies_get_lost_and_late_on_the_wire() {
    let running = start().await;
    let groups = || running.shared.with(|world| world.true_groups(ORG).len());
    let create = || sent(&running, Method::POST, "/v1/workspaceGroups", Some(form("g")));
    for (what, made) in [
        (json!("applied_but_lost"), 1),
        (json!("partial_reply"), 1),
        (json!("lost_before"), 0),
        (json!({"hang": {"ms": 10, "applied": false}}), 0),
    ] {
        let before = groups();
        fault(&running, "singlestore:CreateWorkspaceGroup", what.clone()).await;
        assert!(create().await.is_err(), "{what}");
        assert_eq!(groups() - before, made, "{what}");
    }
    fault(&running, "singlestore:CreateWorkspaceGroup", json!({"hang": {"ms": 300, "applied": true}})).await;
    let began = Instant::now();
    assert_eq!(create().await.unwrap().status, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    for applied in [true, false] {
        let before = groups();
        fault(&running, "singlestore:CreateWorkspaceGroup", json!({"http500": {"applied": applied}})).await;
        let said = create().await.unwrap();
        assert_eq!((said.status, said.text.as_str()), (500, "Internal server error\n"));
        assert_eq!(groups() - before, usize::from(applied));
    }
    running.shutdown().await;
}

#[tokio::test]
async fn the_portal_is_on_the_control_address_and_not_in_the_api() {
    let running = start().await;
    let form = json!({"suggested_policy": {"org": ORG, "region": "us-east-1"}});
    let (status, shown) = control(&running, "/singlestore/portal", form.clone()).await;
    assert_eq!((status, shown["key"]["Version"].as_str()), (200, Some("2012-10-17")));
    let made = json!({"create_group": {"org": ORG, "name": "by hand", "region": "us-east-1"}});
    let (_, made) = control(&running, "/singlestore/portal", made).await;
    let group = made["workspaceGroupID"].as_str().unwrap();
    let (_, tab) =
        control(&running, "/singlestore/portal", json!({"security_tab": {"org": ORG, "group": group}})).await;
    assert_eq!(tab["data"]["cmek"], "DISABLED");
    let (status, said) =
        control(&running, "/singlestore/portal", json!({"security_tab": {"org": ORG, "group": "x"}})).await;
    assert_eq!((status, said["error"].is_string()), (400, true));
    assert_eq!(ask(&running, Method::POST, "/singlestore/portal", Some(form)).await.status, 404);
    let state = Client::new().get(format!("{}/state", running.addresses.control)).send().await.unwrap();
    let state: Value = state.json().await.unwrap();
    assert_eq!(state["singlestore"][ORG]["groups"][0]["encrypted_with"]["data"], Value::Null);
    running.shutdown().await;
}
