// Command controlplane is a Kubernetes control plane on loopback for the demo
// and the tests of cmk-operator. README.md beside this file says how to use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	// A symlink named kubectl is all a script needs that expects kubectl in its PATH.
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "kubectl" {
		runKubectl()
		return
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "kubectl":
			os.Args = os.Args[1:] // kubectl looks for itself in os.Args[0]
			runKubectl()
			return
		case kstatusCommand:
			if err := runKstatus(os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, "kstatus:", err)
				os.Exit(1)
			}
			return
		case controllerManagerCommand:
			os.Exit(runControllerManager())
		}
	}
	os.Exit(runServe(os.Args[1:]))
}

// runServe is the command line around serve. It returns the exit code.
func runServe(args []string) int {
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "Usage: controlplane --dir DIR [--stop-with-stdin]\n       controlplane kubectl ARGS...\n       controlplane kstatus < OBJECTS\n\n")
		flags.PrintDefaults()
	}
	dir := flags.String("dir", "", "`directory` for data, certificates, logs and the kubeconfig; made if missing")
	stopWithStdin := flags.Bool("stop-with-stdin", false, "stop also when standard input ends, that is, when whoever started this is gone")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *dir == "" || flags.NArg() > 0:
		flags.Usage()
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *stopWithStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	// serve gives stdout and stderr to the logs; the two lines meant for the caller keep the real ones.
	stdout, stderr := os.Stdout, os.Stderr
	err := serve(ctx, *dir, func() { fmt.Fprintln(stdout, "ready") })
	if err != nil {
		fmt.Fprintln(stderr, "controlplane:", err)
		return 1
	}
	return 0
}
