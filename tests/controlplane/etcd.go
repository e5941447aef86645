package main

import (
	"context"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	etcdLog = "etcd.log"
	// etcdEndpoint is a Unix socket and no port: none can be taken in between,
	// and nobody else on the machine can reach the data behind the API server's back.
	etcdEndpoint = "unix://etcd.sock"
)

// startEtcd returns when etcd serves on etcdEndpoint.
func startEtcd(ctx context.Context, fail context.CancelCauseFunc) error {
	endpoint, err := url.Parse(etcdEndpoint)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = "etcd"
	config.ListenClientUrls = []url.URL{*endpoint}
	config.ListenPeerUrls = nil                // a cluster of one
	config.UnsafeNoFsync = true                // nothing here has to outlive the machine
	config.TickMs, config.ElectionMs = 20, 100 // elects itself at once, not after a second
	config.LogLevel = "error"
	config.LogOutputs = []string{etcdLog}

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	go func() {
		fail(fmt.Errorf("etcd: %w", <-etcd.Err()))
	}()
	select {
	case <-etcd.Server.ReadyNotify():
		return nil
	case <-etcd.Server.StopNotify():
		return fmt.Errorf("etcd stopped, see %s", etcdLog)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
