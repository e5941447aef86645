package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const (
	// controllerManagerCommand is hidden: only startControllerManager uses it.
	controllerManagerCommand = "kube-controller-manager"
	controllerManagerLog     = "controller-manager.log"
)

// startControllerManager starts this same program as kube-controller-manager
// in a process of its own, which is killed when ctx ends.
func startControllerManager(ctx context.Context, fail context.CancelCauseFunc, children *sync.WaitGroup) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := openLog(controllerManagerLog)
	if err != nil {
		return err
	}
	defer log.Close()
	child := exec.CommandContext(ctx, self, controllerManagerCommand)
	child.Stdout, child.Stderr = log, log
	// The other end of this pipe closes with our process, however that ends, SIGKILL included.
	// Unlike Linux's Pdeathsig it works on every system and does not depend on threads.
	if _, err := child.StdinPipe(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	children.Go(func() {
		err := child.Wait()
		fail(fmt.Errorf("kube-controller-manager stopped, see %s: %v", controllerManagerLog, err))
	})
	return nil
}

// runControllerManager is that process. It returns the exit code.
func runControllerManager() int {
	// Ctrl-C reaches the whole process group, but it is for the parent to end this.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	command := app.NewControllerManagerCommand()
	command.SetArgs([]string{
		"--kubeconfig=" + kubeconfigFile,
		// The two without which deleted namespaces stay and owner references mean nothing.
		"--controllers=namespace-controller,garbage-collector-controller",
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=200", // the default of 20 makes tests wait
		"--kube-api-burst=400",
	})
	return cli.Run(command)
}
