package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/keyutil"
)

const (
	certDir        = "certs"
	kubeconfigFile = "kubeconfig"
)

// credentials are what the server checks its callers by.
type credentials struct {
	token                 string // the admin's
	tokenFile             string
	serviceAccountKeyFile string
}

// newCredentials makes the admin's token anew, and the key of the service
// accounts only when missing, so that their tokens survive a restart in the same directory.
func newCredentials() (credentials, error) {
	creds := credentials{
		token:                 rand.Text(),
		tokenFile:             filepath.Join(certDir, "tokens.csv"),
		serviceAccountKeyFile: filepath.Join(certDir, "service-account.key"),
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(creds.serviceAccountKeyFile); err != nil {
		return creds, err
	}
	line := fmt.Sprintf("%s,admin,admin,system:masters\n", creds.token)
	return creds, os.WriteFile(creds.tokenFile, []byte(line), 0o600)
}

// kubeconfig holds all it needs in itself, so that it can be copied anywhere.
func (c credentials) kubeconfig(server string) ([]byte, error) {
	// The server's certificate comes with the authority that was made for it alone.
	authority, err := os.ReadFile(filepath.Join(certDir, "apiserver.crt"))
	if err != nil {
		return nil, err
	}
	const name = "controlplane"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: authority}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: c.token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.Write(*config)
}
