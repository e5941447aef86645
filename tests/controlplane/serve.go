package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// gcPercent trades memory, up to 2 GB where hundreds of operators are at work, for a
// quarter of the CPU time; GOGC overrides it.
const gcPercent = 400

// startTimeout is far beyond the two seconds a start takes; it only ends a start that hangs.
const startTimeout = 2 * time.Minute

// serve runs a control plane in dir until ctx ends, which is no error, or until
// a part of it dies, which is one. It calls ready once the API can be used.
//
// There is no orderly shutdown, on purpose: etcd's log survives the end of the
// process at any moment, and the one thing that has to be ended is the controller manager.
func serve(ctx context.Context, dir string, ready func()) error {
	lock, err := enter(dir)
	if err != nil {
		return err
	}
	defer lock.Close() // and a reference until then: what is collected is unlocked
	// Kubernetes ends the process by itself on some failures, after a word to the log only.
	stderr := os.Stderr
	klog.OsExit = func(int) {
		fmt.Fprintf(stderr, "controlplane: kube-apiserver gave up, see %s\n", apiServerLog)
		os.Exit(1)
	}
	log, err := openLog(apiServerLog)
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = log, log

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	parts, fail := context.WithCancelCause(ctx)
	var children sync.WaitGroup
	if err = start(parts, fail, &children); err == nil {
		ready()
		<-parts.Done()
	}
	cause := context.Cause(parts)
	fail(nil) // ends the children
	children.Wait()
	switch {
	case ctx.Err() != nil:
		return nil // the end was asked for
	case cause != nil:
		return cause
	default:
		return err
	}
}

// start starts the parts one after the other. They end with ctx; one that ends
// earlier reports it to fail.
func start(ctx context.Context, fail context.CancelCauseFunc, children *sync.WaitGroup) error {
	if err := startEtcd(ctx, fail); err != nil {
		return err
	}
	kubeconfig, err := startAPIServer(ctx, fail)
	if err != nil {
		return err
	}
	if err := waitUntilReady(ctx, kubeconfig); err != nil {
		return err
	}
	return startControllerManager(ctx, fail, children)
}

// enter makes dir the working directory and reserves it for this process.
//
// All file names from here on are relative to it, because the path of a Unix
// socket may have no more than about a hundred characters and dir may have more.
func enter(dir string) (lock io.Closer, err error) {
	// Whoever can read this directory is cluster admin.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	// The lock goes with the process, however it ends. etcd has one of its own, but waits for it forever.
	lock, err = fileutil.TryLockFile("lock", os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		err = fmt.Errorf("%s is in use by another control plane", dir)
	}
	return lock, err
}

func openLog(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// waitUntilReady returns when the server calls itself ready and has made the
// namespace "default", which it does a moment later.
func waitUntilReady(ctx context.Context, kubeconfig []byte) error {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // no throttle: asking again soon is the point
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			_, err = client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready after %s: %w", startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
