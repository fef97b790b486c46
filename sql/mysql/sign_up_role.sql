-- A trigger runs with the default roles of who made it, whichever roles are in force where they log in: the role that
-- lambda_async asks for is to be one of them. MariaDB, on which this is tested, has a statement of its own.
/*!80000 ALTER USER CURRENT_USER() DEFAULT ROLE ALL */
/*M! SET DEFAULT ROLE AWS_LAMBDA_ACCESS */
