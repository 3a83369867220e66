"""Studies: measurements that train models, several of them, under equal conditions."""
