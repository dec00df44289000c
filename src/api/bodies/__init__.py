"""Bodies and parameters of users, groups and memberships over HTTP. Their routes are beside this folder."""
