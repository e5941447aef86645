// The vendor's own Go SDK against the simulated Atlas: a role, a key, a cluster, and back.
//
// It prints one JSON line with what it found, and says on standard error what was not as it should be.
//
//	atlas-sdk-witness role    makes Atlas's side of a role
//	atlas-sdk-witness chain   with a role and a key that are ready in AWS: authorizes, registers, deploys, takes all down
//	atlas-sdk-witness digest  reads with an API key instead of a service account
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.mongodb.org/atlas-sdk/v20250312020/admin"
)

// Everything comes by the environment, so that no secret stands among the arguments.
var (
	address = os.Getenv("ATLAS_ADDRESS")
	project = os.Getenv("ATLAS_PROJECT")
	iamRole = os.Getenv("IAM_ROLE")
	roleID  = os.Getenv("ATLAS_ROLE")
	key     = os.Getenv("KMS_KEY")
)

const (
	region   = "US_EAST_1"
	second   = "EU_WEST_1"
	name     = "witness"
	patience = 60 * time.Second
)

func main() {
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	defer stop()
	found, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "atlas-sdk:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, "atlas-sdk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) (map[string]any, error) {
	if len(arguments) != 1 {
		return nil, errors.New("say role, chain or digest")
	}
	oauth := admin.UseOAuthAuth(ctx, os.Getenv("ATLAS_CLIENT_ID"), os.Getenv("ATLAS_CLIENT_SECRET"))
	if arguments[0] == "digest" {
		oauth = admin.UseDigestAuth(os.Getenv("ATLAS_PUBLIC_KEY"), os.Getenv("ATLAS_PRIVATE_KEY"))
	}
	// The address goes first: the token endpoint is taken from it.
	client, err := admin.NewClient(admin.UseBaseURL(address), oauth)
	if err != nil {
		return nil, err
	}
	switch arguments[0] {
	case "role":
		return makeRole(ctx, client)
	case "chain":
		return chain(ctx, client)
	case "digest":
		return read(ctx, client)
	}
	return nil, fmt.Errorf("unknown %s", arguments[0])
}

// Makes Atlas's side of a role and finds it in the list.
func makeRole(ctx context.Context, client *admin.APIClient) (map[string]any, error) {
	made, _, err := client.CloudProviderAccessApi.
		CreateCloudProviderAccess(ctx, project, &admin.CloudProviderAccessRoleRequest{ProviderName: "AWS"}).Execute()
	if err != nil {
		return nil, fmt.Errorf("making a role: %w", err)
	}
	all, _, err := client.CloudProviderAccessApi.ListCloudProviderAccess(ctx, project).Execute()
	if err != nil {
		return nil, fmt.Errorf("listing roles: %w", err)
	}
	for _, one := range all.GetAwsIamRoles() {
		if one.GetRoleId() == made.GetRoleId() && one.GetAtlasAssumedRoleExternalId() != "" {
			return map[string]any{
				"roleId": made.GetRoleId(), "externalId": made.GetAtlasAssumedRoleExternalId(),
				"principal": made.GetAtlasAWSAccountArn(),
			}, nil
		}
	}
	return nil, errors.New("the role is not in the list")
}

// From a role to a cluster, and back.
func chain(ctx context.Context, client *admin.APIClient) (map[string]any, error) {
	steps := []struct {
		name string
		do   func(context.Context, *admin.APIClient) error
	}{
		{"a key before its role is authorized", refusedBefore},
		{"authorizing the role", authorize},
		{"a cluster before there is a key", clusterRefused},
		{"registering the key", register},
		{"creating a cluster", create},
		{"adding a region", addRegion},
		{"the addresses", addresses},
		{"the regions", regions},
		{"disabling while in use", disableRefused},
		{"deleting the cluster", remove},
		{"disabling", disable},
		{"deauthorizing the role", deauthorize},
	}
	for _, step := range steps {
		if err := step.do(ctx, client); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return map[string]any{"steps": len(steps)}, nil
}

// The call has to be refused with a status and a code.
func refused(err error, status int, code string) error {
	known, ok := admin.AsError(err)
	if !ok {
		return fmt.Errorf("not refused with an error of the API: %w", err)
	}
	if known.GetError() != status || known.GetErrorCode() != code {
		return fmt.Errorf("refused with %d %s instead of %d %s", known.GetError(), known.GetErrorCode(), status, code)
	}
	return nil
}

func update(ctx context.Context, client *admin.APIClient, aws *admin.AWSKMSConfiguration) (*admin.EncryptionAtRest, error) {
	found, _, err := client.EncryptionAtRestUsingCustomerKeyManagementApi.
		UpdateEncryptionAtRest(ctx, project, &admin.EncryptionAtRest{AwsKms: aws}).Execute()
	return found, err
}

func wanted() *admin.AWSKMSConfiguration {
	return &admin.AWSKMSConfiguration{
		Enabled: admin.PtrBool(true), CustomerMasterKeyID: admin.PtrString(key),
		Region: admin.PtrString(region), RoleId: admin.PtrString(roleID),
	}
}

func refusedBefore(ctx context.Context, client *admin.APIClient) error {
	_, err := update(ctx, client, wanted())
	return refused(err, http.StatusBadRequest, "CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED")
}

func authorize(ctx context.Context, client *admin.APIClient) error {
	ask := func(arn string) (*admin.CloudProviderAccessRole, error) {
		found, _, err := client.CloudProviderAccessApi.AuthorizeProviderAccessRole(ctx, project, roleID,
			&admin.CloudProviderAccessRoleRequestUpdate{ProviderName: "AWS", IamAssumedRoleArn: admin.PtrString(arn)}).Execute()
		return found, err
	}
	_, err := ask(iamRole + "-none")
	if err := refused(err, http.StatusBadRequest, "CANNOT_ASSUME_ROLE"); err != nil {
		return err
	}
	found, err := ask(iamRole)
	if err != nil {
		return err
	}
	if found.GetIamAssumedRoleArn() != iamRole || found.GetAuthorizedDate().IsZero() {
		return fmt.Errorf("the answer does not say so: %+v", found)
	}
	return nil
}

func register(ctx context.Context, client *admin.APIClient) error {
	if _, err := update(ctx, client, wanted()); err != nil {
		return err
	}
	found, _, err := client.EncryptionAtRestUsingCustomerKeyManagementApi.GetEncryptionAtRest(ctx, project).Execute()
	if err != nil {
		return err
	}
	aws := found.GetAwsKms()
	if !aws.GetEnabled() || !aws.GetValid() || aws.GetCustomerMasterKeyID() != key || aws.GetRegion() != region {
		return fmt.Errorf("read back: %+v", aws)
	}
	return nil
}

func at(regionName string, priority int, nodes int) admin.CloudRegionConfig20240805 {
	return admin.CloudRegionConfig20240805{
		ProviderName: admin.PtrString("AWS"), RegionName: admin.PtrString(regionName), Priority: admin.PtrInt(priority),
		ElectableSpecs: &admin.HardwareSpec20240805{InstanceSize: admin.PtrString("M10"), NodeCount: admin.PtrInt(nodes)},
	}
}

func cluster() *admin.ClusterDescription20240805 {
	shard := admin.ReplicationSpec20240805{RegionConfigs: &[]admin.CloudRegionConfig20240805{at(region, 7, 3)}}
	return &admin.ClusterDescription20240805{
		Name: admin.PtrString(name), ClusterType: admin.PtrString("REPLICASET"), BackupEnabled: admin.PtrBool(true),
		EncryptionAtRestProvider: admin.PtrString("AWS"), ReplicationSpecs: &[]admin.ReplicationSpec20240805{shard},
	}
}

func clusterRefused(ctx context.Context, client *admin.APIClient) error {
	_, _, err := client.ClustersApi.CreateCluster(ctx, project, cluster()).Execute()
	return refused(err, http.StatusBadRequest, "ENCRYPTION_AT_REST_NOT_ENABLED")
}

func create(ctx context.Context, client *admin.APIClient) error {
	made, answer, err := client.ClustersApi.CreateCluster(ctx, project, cluster()).Execute()
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated || made.GetStateName() != "CREATING" {
		return fmt.Errorf("status %d, state %s", answer.StatusCode, made.GetStateName())
	}
	_, _, err = client.ClustersApi.CreateCluster(ctx, project, cluster()).Execute()
	if err := refused(err, http.StatusBadRequest, "DUPLICATE_CLUSTER_NAME"); err != nil {
		return err
	}
	ready, err := idle(ctx, client)
	if err != nil {
		return err
	}
	if ready.GetEncryptionAtRestProvider() != "AWS" || ready.ConnectionStrings.GetStandardSrv() == "" {
		return fmt.Errorf("it came up as %+v", ready)
	}
	all, _, err := client.ClustersApi.ListClusters(ctx, project).Execute()
	if err != nil {
		return err
	}
	if all.GetTotalCount() != 1 || all.GetResults()[0].GetName() != name {
		return fmt.Errorf("the list has %d", all.GetTotalCount())
	}
	return nil
}

// Waits until nothing is under way.
func idle(ctx context.Context, client *admin.APIClient) (*admin.ClusterDescription20240805, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		found, _, err := client.ClustersApi.GetCluster(ctx, project, name).Execute()
		if err != nil || found.GetStateName() == "IDLE" {
			return found, err
		}
	}
	return nil, fmt.Errorf("not IDLE after %v", patience)
}

func addRegion(ctx context.Context, client *admin.APIClient) error {
	present, err := idle(ctx, client)
	if err != nil {
		return err
	}
	shard := present.GetReplicationSpecs()[0]
	id := shard.GetId()
	more := append(shard.GetRegionConfigs(), at(second, 6, 2))
	change := &admin.ClusterDescription20240805{ReplicationSpecs: &[]admin.ReplicationSpec20240805{
		{Id: admin.PtrString(id), RegionConfigs: &more},
	}}
	if _, _, err := client.ClustersApi.UpdateCluster(ctx, project, name, change).Execute(); err != nil {
		return err
	}
	after, err := idle(ctx, client)
	if err != nil {
		return err
	}
	shards := after.GetReplicationSpecs()
	if len(shards) != 1 || shards[0].GetId() != id || len(shards[0].GetRegionConfigs()) != 2 {
		return fmt.Errorf("afterwards: %+v", shards)
	}
	if !after.GetBackupEnabled() || after.GetEncryptionAtRestProvider() != "AWS" {
		return errors.New("what was not named changed too")
	}
	return nil
}

func addresses(ctx context.Context, client *admin.APIClient) error {
	found, _, err := client.ProjectsApi.GetGroupIpAddresses(ctx, project).Execute()
	if err != nil {
		return err
	}
	services := found.GetServices()
	if all := services.GetClusters(); len(all) != 1 || len(all[0].GetOutbound()) != 5 {
		return fmt.Errorf("of the clusters: %+v", all)
	}
	control, _, err := client.RootApi.ListControlPlaneAddresses(ctx).Execute()
	if err != nil {
		return err
	}
	outbound := control.GetOutbound()
	if len(outbound.GetAws()) == 0 {
		return errors.New("of the control plane: none")
	}
	return nil
}

func regions(ctx context.Context, client *admin.APIClient) error {
	found, _, err := client.ClustersApi.ListClusterProviderRegions(ctx, project).Providers([]string{"AWS"}).Tier("M10").Execute()
	if err != nil {
		return err
	}
	for _, provider := range found.GetResults() {
		for _, size := range provider.GetInstanceSizes() {
			for _, one := range size.GetAvailableRegions() {
				if one.GetName() == region && size.GetName() == "M10" {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%s is not among them", region)
}

func disableRefused(ctx context.Context, client *admin.APIClient) error {
	_, err := update(ctx, client, &admin.AWSKMSConfiguration{Enabled: admin.PtrBool(false)})
	return refused(err, http.StatusConflict, "CANNOT_DISABLE_ENCRYPTION_AT_REST")
}

func remove(ctx context.Context, client *admin.APIClient) error {
	if _, err := client.ClustersApi.DeleteCluster(ctx, project, name).Execute(); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, _, err := client.ClustersApi.GetCluster(ctx, project, name).Execute(); err != nil {
			return refused(err, http.StatusNotFound, "CLUSTER_NOT_FOUND")
		}
	}
	return fmt.Errorf("still there after %v", patience)
}

func disable(ctx context.Context, client *admin.APIClient) error {
	found, err := update(ctx, client, &admin.AWSKMSConfiguration{Enabled: admin.PtrBool(false)})
	if err != nil {
		return err
	}
	aws := found.GetAwsKms()
	if aws.GetEnabled() {
		return errors.New("it is enabled still")
	}
	return nil
}

func deauthorize(ctx context.Context, client *admin.APIClient) error {
	if _, err := client.CloudProviderAccessApi.DeauthorizeProviderAccessRole(ctx, project, "AWS", roleID).Execute(); err != nil {
		return err
	}
	_, _, err := client.CloudProviderAccessApi.GetCloudProviderAccess(ctx, project, roleID).Execute()
	return refused(err, http.StatusNotFound, "CLOUD_PROVIDER_ACCESS_ROLE_NOT_FOUND")
}

// With an API key.
func read(ctx context.Context, client *admin.APIClient) (map[string]any, error) {
	found, _, err := client.ProjectsApi.GetGroup(ctx, project).Execute()
	if err != nil {
		return nil, err
	}
	all, _, err := client.ProjectsApi.ListGroups(ctx).Execute()
	if err != nil {
		return nil, err
	}
	return map[string]any{"project": found.GetName(), "projects": all.GetTotalCount()}, nil
}
