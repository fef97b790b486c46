-- Who signs up has a name in the cache at once, not at the next refresh: Aurora calls the function that writes it.
-- A sign-up does not fail where the call does; the refresh finds it. So it does when the function was there first, for
-- the row is seen only once it is committed.
CREATE TRIGGER customer_signs_up AFTER INSERT ON customers
FOR EACH ROW
BEGIN
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    SELECT lambda_async(%(function)s, JSON_OBJECT('user_id', CAST(NEW.customer_id AS CHAR))) INTO @called;
END
