"""The engines of the deployment on AWS: for each role the class that plays it there, and what it is made of."""
