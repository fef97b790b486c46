-- The lake's database of the Glue Data Catalog as schema "lake" of Redshift. The article's statement, with the
-- namespace's default role instead of one by its ARN; the database is there before, so none is made.
CREATE EXTERNAL SCHEMA IF NOT EXISTS lake
FROM DATA CATALOG
DATABASE 'clickstream'
IAM_ROLE default
