package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const apiServerLog = "apiserver.log"

// startAPIServer returns the admin's kubeconfig, which it also writes, as soon
// as the server runs; that is before it is ready.
//
// It does what the command of kube-apiserver does, except for two things the
// command does not allow: to serve on a listener that is already open, so that
// no other process can take the port first, and to leave signals to us.
func startAPIServer(ctx context.Context, fail context.CancelCauseFunc) ([]byte, error) {
	creds, err := newCredentials()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().(*net.TCPAddr)

	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse([]string{
		"--etcd-servers=" + etcdEndpoint,
		"--cert-dir=" + certDir,
		"--advertise-address=" + address.IP.String(), // the default is looked up and needs a network
		"--endpoint-reconciler-type=none",            // loopback is no valid address of an Endpoints object
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--token-auth-file=" + creds.tokenFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + creds.serviceAccountKeyFile,
		"--service-account-signing-key-file=" + creds.serviceAccountKeyFile,
		"--disable-admission-plugins=ServiceAccount", // no controller makes the accounts it asks for
		"--profiling=false",
	}); err != nil {
		return nil, err
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindAddress = address.IP
	opts.SecureServing.BindPort = address.Port

	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{}) // for the server's calls to itself
	completed, err := opts.Complete(ctx)             // makes the certificate, too
	if err != nil {
		return nil, err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, utilerrors.NewAggregate(errs)
	}

	kubeconfig, err := creds.kubeconfig("https://" + listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(kubeconfigFile, kubeconfig, 0o600); err != nil {
		return nil, err
	}
	go func() {
		err := app.Run(ctx, completed)
		fail(fmt.Errorf("kube-apiserver stopped, see %s: %v", apiServerLog, err))
	}()
	return kubeconfig, nil
}
