//! The control plane that all scenes of a test binary share.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::kstatus::Recorder;

/// A running control plane. It stops when its standard input ends, that is when this process does.
pub struct ControlPlane {
    pub kubeconfig: PathBuf,
    pub binary: PathBuf,
    recorder: OnceLock<Recorder>,
    _dir: tempfile::TempDir,
    _child: Child,
}

/// The control plane, started at the first use.
pub fn shared() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| {
        let plane = ControlPlane::start();
        plane.apply_crds();
        plane
    })
}

impl ControlPlane {
    /// One without the CRDs.
    pub fn start() -> Self {
        let binary = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/controlplane/controlplane");
        assert!(binary.exists(), "{} is missing: run `make controlplane` (needs Go)", binary.display());
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(&binary)
            .args(["--stop-with-stdin", "--dir"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "the control plane did not start; see its message above");
        Self { kubeconfig: dir.path().join("kubeconfig"), binary, recorder: OnceLock::new(), _dir: dir, _child: child }
    }

    /// The recorder of every object's every version, started at the first use.
    pub fn recorder(&self) -> &Recorder {
        self.recorder.get_or_init(|| Recorder::start(self))
    }

    /// Applies the CRDs and waits until they are served, and until nothing that becomes of their objects can be missed.
    pub fn apply_crds(&self) {
        self.kubectl(&["apply", "--server-side", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
        for crd in ["customerkeys", "encryptedclusters"] {
            self.kubectl(&["wait", "--for=condition=Established", &format!("crd/{crd}.cmk-operator.io")]);
        }
        self.recorder().watching();
    }

    /// Runs kubectl, and yields what it printed.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let (ok, text) = self.try_kubectl(args, None);
        assert!(ok, "kubectl {args:?}: {text}");
        text
    }

    /// Runs kubectl with some input; yields whether it succeeded, and what it printed.
    pub fn try_kubectl(&self, args: &[&str], input: Option<&str>) -> (bool, String) {
        use std::io::Write;
        let mut child = Command::new(&self.binary)
            .arg("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl-cache"))
            .env("KUBERC", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// A client with an administrator's rights.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }
}
