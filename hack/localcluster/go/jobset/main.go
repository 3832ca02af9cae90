// JobSet's controller manager, put together from its own packages as its own main does, but for the number of
// workers, for which it has no setting: it comes from the environment (unset: its default, 1). Certificates come from
// a folder, which its own configuration offers too.
package main

import (
	"crypto/tls"
	"flag"
	"os"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/jobset/pkg/controllers"
	"sigs.k8s.io/jobset/pkg/util/useragent"
	"sigs.k8s.io/jobset/pkg/webhooks"
)

const shippedQPS = 500

func main() {
	port := flag.Int("webhook-port", 9443, "port of the webhooks")
	certificates := flag.String("cert-dir", "", "folder of tls.crt and tls.key")
	probes := flag.String("health-probe-bind-address", ":8081", "address of /readyz")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&zap.Options{Development: true})))

	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(jobset.AddToScheme(scheme))
	config := ctrl.GetConfigOrDie()
	config.UserAgent = useragent.Default()
	config.QPS, config.Burst = shippedQPS, shippedQPS
	http1 := func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Controller:             ctrlconfig.Controller{MaxConcurrentReconciles: number("PEER_WORKERS")},
		Metrics:                metricsserver.Options{BindAddress: "0"},
		WebhookServer:          webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certificates, TLSOpts: []func(*tls.Config){http1}}),
		HealthProbeBindAddress: *probes,
	})
	utilruntime.Must(err)
	utilruntime.Must(mgr.AddReadyzCheck("readyz", mgr.GetWebhookServer().StartedChecker()))
	utilruntime.Must(mgr.AddHealthzCheck("healthz", healthz.Ping))
	ctx := ctrl.SetupSignalHandler()
	utilruntime.Must(controllers.SetupJobSetIndexes(ctx, mgr.GetFieldIndexer()))
	utilruntime.Must(controllers.SetupPodIndexes(ctx, mgr.GetFieldIndexer()))
	client, events := mgr.GetClient(), mgr.GetEventRecorderFor
	utilruntime.Must(controllers.NewJobSetReconciler(client, mgr.GetScheme(), events("jobset")).SetupWithManager(mgr))
	utilruntime.Must(controllers.NewPodReconciler(client, mgr.GetScheme(), events("pod")).SetupWithManager(mgr))
	jobSetWebhook, err := webhooks.NewJobSetWebhook(client)
	utilruntime.Must(err)
	utilruntime.Must(jobSetWebhook.SetupWebhookWithManager(mgr))
	utilruntime.Must(webhooks.NewPodWebhook(client).SetupWebhookWithManager(mgr))
	utilruntime.Must(mgr.Start(ctx))
}

// number is an environment variable's value; 0, which means the default everywhere, when it is unset.
func number(variable string) int {
	value, err := strconv.Atoi(os.Getenv(variable))
	if os.Getenv(variable) == "" {
		return 0
	}
	utilruntime.Must(err)
	return value
}
